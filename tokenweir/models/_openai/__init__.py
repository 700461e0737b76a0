"""Streamed calls of OpenAI's protocol on a fast path, with LangChain's own as a fallback."""
