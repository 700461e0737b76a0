"""Tools for tests of streaming graphs: a scripted provider, and matchers for streams.

Names are imported at first use, because every run of pytest imports this package for its plugin.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenweir.testing.matchers import by_call, without_run_ids
    from tokenweir.testing.provider import Provider
    from tokenweir.testing.recorded import RecordedRequest
    from tokenweir.testing.reply import Reply, ToolCall

__all__ = ["Provider", "RecordedRequest", "Reply", "ToolCall", "by_call", "without_run_ids"]

_HOMES = {
    "Provider": "provider",
    "RecordedRequest": "recorded",
    "Reply": "reply",
    "ToolCall": "reply",
    "by_call": "matchers",
    "without_run_ids": "matchers",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tokenweir.testing' has no attribute {name!r}")
    value = getattr(import_module(f"tokenweir.testing.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
