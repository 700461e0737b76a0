"""How many files this process may have open, and what a server uses them for.

A connection of a client is an open file, and so is a run's connection to its provider. Without free
ones, no client can connect, and no file can be opened.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["Shares", "raise_limit"]

_MOST = 65_536
"""One process has no use for more."""

_RESERVE = 64
"""For the event log, the checkpoints, and other files of the process, which has about half of these
open when idle."""


@dataclass(frozen=True)
class Shares:
    """What open files are used for.

    Attributes:
        connections: Connections of clients.
        refusals: Connections beyond those, which are refused and closed.
        runs: Runs at a time, each with one connection to a provider.
    """

    connections: int
    refusals: int
    runs: int

    @classmethod
    def of(cls, files: int) -> Shares:
        """The shares of this many open files, minus a reserve."""
        fifth = max(1, (files - _RESERVE) // 5)
        return cls(connections=2 * fifth, refusals=fifth, runs=2 * fifth)


def raise_limit() -> int:
    """Raise this process's limit of open files as far as it may, and return it."""
    files = _MOST
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(ValueError, OSError):  # macOS has another limit
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                soft = wanted
        if soft != resource.RLIM_INFINITY:
            files = min(soft, _MOST)
    return files
