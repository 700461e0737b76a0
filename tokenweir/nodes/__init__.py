"""Helpers for nodes: the token writer, and ``@node``."""
