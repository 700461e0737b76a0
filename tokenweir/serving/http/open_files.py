"""How many files the process may have open, and what a server takes of them. No I/O but that.

A connection is an open file, and so is one of a run to its provider. Without any left nobody can
connect, and nothing that has to be opened can be.
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
"""More is of no use to one process."""

_RESERVE = 64
"""For the event log, the checkpoints, and what the process has open besides: about half of it is
open when nothing is going on."""


@dataclass(frozen=True)
class Shares:
    """What open files are for.

    Attributes:
        connections: Connections of clients.
        refusals: Connections beyond that, each of which is told so and closed.
        runs: Runs at once, each with one connection to a provider.
    """

    connections: int
    refusals: int
    runs: int

    @classmethod
    def of(cls, files: int) -> Shares:
        """The shares of so many open files, less a reserve."""
        fifth = max(1, (files - _RESERVE) // 5)
        return cls(connections=2 * fifth, refusals=fifth, runs=2 * fifth)


def raise_limit() -> int:
    """Let this process open as many files as it may; how many that are."""
    files = _MOST
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(ValueError, OSError):  # macOS has a limit besides
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                soft = wanted
        if soft != resource.RLIM_INFINITY:
            files = min(soft, _MOST)
    return files
