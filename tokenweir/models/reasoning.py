"""Finds the reasoning in responses of OpenAI-compatible servers. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["reasoning_in"]


def reasoning_in(data: Mapping[str, Any] | None) -> str:
    """The reasoning in a delta, or in a whole message, of OpenAI's chat protocol; "" if none."""
    if not data:
        return ""
    found = data.get("reasoning_content") or data.get("reasoning")
    return found if isinstance(found, str) else ""
