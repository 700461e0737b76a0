"""The server that the tests of a module share, and the AI SDK."""

from __future__ import annotations

from tests.serving.front_ends import run, scripts, shared

__all__ = ["run", "scripts", "shared"]
