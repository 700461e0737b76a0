"""Streamed calls of OpenAI's protocol at a fraction of the cost, or else LangChain's own."""
