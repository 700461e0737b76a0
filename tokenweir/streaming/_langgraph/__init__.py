"""All code that depends on the internals of LangGraph and LangChain."""
