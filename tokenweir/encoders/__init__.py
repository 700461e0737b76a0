"""Encodes streams of tokens for front ends: AG-UI, and the AI SDK's UI message stream."""
