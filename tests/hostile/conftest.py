"""Attacks go against the same real server as the tests of serving."""

from __future__ import annotations

from tests.serving.conftest import Server, http, serve

__all__ = ["Server", "http", "serve"]
