"""Streams of tokens as the bytes that front ends read: AG-UI, the AI SDK's UI message stream."""
