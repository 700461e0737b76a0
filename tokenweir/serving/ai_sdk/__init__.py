"""The AI SDK's UI message stream, as used by ``useChat``."""
