"""The numbers of events: one order over all runs of a thread, the same for every reader.

A number is made of the run's turn on its thread, the event's id in the run's record, and the index
among the protocol's events for it. It stays valid across connections and processes: a client that
reconnects with its last number as ``since`` is sent what it lacks.

Events of a compact replay have numbers of a range of their own. Such a number tells how far the
client is, but not where its replay ended, so the client can continue even if the record has grown.
"""

from __future__ import annotations

__all__ = [
    "COMPACT",
    "COMPACT_END",
    "FULL",
    "MOST",
    "STEP",
    "end_of",
    "event_of",
    "first_of",
    "seq",
    "turn_of",
]

_IDS = 26
_PARTS = 11
"""Bits. With those of the turn they make 53, which JavaScript counts exactly: enough for 65,000
runs of a thread and 67 million events of a run. Beyond that, only JavaScript rounds."""

STEP = 1 << _PARTS
"""The distance from an event of a run to the next one."""

FULL, COMPACT, COMPACT_END = 0, STEP // 2, STEP // 4 * 3
"""The first index of events sent as they came; of events sent in a compact replay, where messages
are held back until they end; and of the growing messages that end such a replay."""

_ROOM = {FULL: COMPACT - 1, COMPACT: COMPACT_END - COMPACT - 1, COMPACT_END: STEP - COMPACT_END - 1}

MOST = _ROOM[FULL]
"""The last index of events sent as they came. Any further ones share it."""


def seq(turn: int, event: int, part: int, first: int = FULL) -> int:
    """The number of an event of the protocol; ``part`` counts from the index ``first``."""
    return (((turn << _IDS) + event) << _PARTS) + first + min(part, _ROOM[first])


def end_of(turn: int) -> int:
    """A number after all of this run's events, and before all of the next run's."""
    return ((turn + 1) << (_IDS + _PARTS)) - 1


def turn_of(number: int) -> int:
    """The turn of the run that this number belongs to."""
    return number >> (_IDS + _PARTS)


def event_of(number: int) -> int:
    """The id of the event in the record of its run."""
    return (number >> _PARTS) & ((1 << _IDS) - 1)


def first_of(number: int) -> int:
    """How the event was sent: ``FULL``, ``COMPACT`` or ``COMPACT_END``."""
    return max(first for first in _ROOM if first <= number % STEP)
