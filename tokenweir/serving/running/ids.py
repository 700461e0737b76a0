"""Ids of runs, threads and assistants: made here or chosen by clients."""

from __future__ import annotations

import re
from uuid import uuid4

from tokenweir.serving.problems import InvalidError

__all__ = ["check_id", "new_id"]

_LONGEST = 200
"""Characters; the limit is for threads, whose ids are part of each token's metadata."""

_REFUSED = re.compile(r"[/\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that cannot be part of a URL's path, even percent-encoded: servers and proxies decode
``%2F`` before they match routes, and some refuse control characters."""


def new_id() -> str:
    """A new id for a run, a thread or an assistant."""
    return str(uuid4())


def check_id(name: str, id: str) -> None:
    """Raise InvalidError if a client's id cannot be part of a URL.

    Args:
        name: The field of the request, for the error.
        id: The client's id for a thread or an assistant.
    """
    if not 0 < len(id) <= _LONGEST or id in (".", "..") or _REFUSED.search(id):
        raise InvalidError(
            f"{name} must have 1 to {_LONGEST} characters, no / and no control character, and "
            "must not be . or .."
        )
