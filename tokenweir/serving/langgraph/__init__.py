"""LangGraph's API, for its own clients."""
