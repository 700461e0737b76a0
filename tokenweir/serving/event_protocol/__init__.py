"""LangGraph's event protocol: one stream of typed events per thread, and commands beside it."""
