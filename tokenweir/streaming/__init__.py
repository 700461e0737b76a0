"""The heart: streams of ``(chunk, metadata)``, and everything that takes one."""
