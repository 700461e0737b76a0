"""LangGraph's API, for LangGraph's clients."""
