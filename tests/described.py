"""The server's description without a server, for tests of all that it can do."""

from __future__ import annotations

from typing import Any

from tokenweir.serving.app import protocol_routes
from tokenweir.serving.description import describe as describe_routes
from tokenweir.serving.problems import Limits
from tokenweir.serving.service import Service

__all__ = ["describe"]


def describe(*, keys: bool) -> dict[str, Any]:
    """The OpenAPI document of a server with or without API keys."""
    return describe_routes(protocol_routes(Service(Limits())), keys=keys)
