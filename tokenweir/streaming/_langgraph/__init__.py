"""All that knows the insides of LangGraph and LangChain."""
