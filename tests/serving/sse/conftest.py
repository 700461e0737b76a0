"""The server that the tests of a module share."""

from __future__ import annotations

from tests.serving.one_server import provider, server, shared

__all__ = ["provider", "server", "shared"]
