"""The AI SDK's UI message stream, as ``useChat`` speaks it."""
