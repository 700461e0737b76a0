"""Ids of runs, threads and assistants: made here, or by clients."""

from __future__ import annotations

import re
from uuid import uuid4

from tokenweir.serving.problems import InvalidError

__all__ = ["check_id", "new_id"]

_LONGEST = 200
"""Characters: a thread's id stands in the metadata of every token."""

_REFUSED = re.compile(r"[/\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that cannot stand in a segment of a URL's path, even percent-encoded: servers and
proxies decode ``%2F`` before they look for the route, and some refuse control characters."""


def new_id() -> str:
    """An id for a run, a thread or an assistant."""
    return str(uuid4())


def check_id(name: str, id: str) -> None:
    """Raise InvalidError for a client's id that could not stand in a URL.

    Args:
        name: The field of the request, for the error's message.
        id: What the client wants to call a thread or an assistant.
    """
    if not 0 < len(id) <= _LONGEST or id in (".", "..") or _REFUSED.search(id):
        raise InvalidError(
            f"{name} has 1 to {_LONGEST} characters, none of them / or a control character, and "
            "is neither . nor .."
        )
