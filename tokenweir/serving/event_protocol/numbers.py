"""The numbers of events: one order over all runs of a thread, the same for every reader.

A number is made of the run's turn on its thread, the id of the event in the run's record, and the
place among what the protocol makes of that event. So it outlives connections and processes, and a
reader who comes back with the last one that he has is sent what he lacks.

Who has what was there already added up has numbers of his own for that, which say so. They say how
far he is, and nothing of where his sum ends: so he can go on when there is more to add up.
"""

from __future__ import annotations

__all__ = [
    "MOST",
    "STEP",
    "SUMMED",
    "SUM_END",
    "TOLD",
    "end_of",
    "event_of",
    "first_of",
    "seq",
    "turn_of",
]

_IDS = 26
_PARTS = 11
"""Bits, 53 with those of the turn: what JavaScript counts exactly. That is room for 65,000 runs of
a thread, and 67 million events of a run; beyond that only JavaScript rounds."""

STEP = 1 << _PARTS
"""From an event of a run to the next one."""

TOLD, SUMMED, SUM_END = 0, STEP // 2, STEP // 4 * 3
"""The first places of what is told as it came; of what is told in a sum, in which messages are held
back until they end; and of what the sum ends with, which is the messages that grow."""

_ROOM = {TOLD: SUMMED - 1, SUMMED: SUM_END - SUMMED - 1, SUM_END: STEP - SUM_END - 1}

MOST = _ROOM[TOLD]
"""The last place of what is told as it came. What there is more of, shares the last place."""


def seq(turn: int, event: int, part: int, first: int = TOLD) -> int:
    """The number of a part of an event of a run; parts are counted from the first place on."""
    return (((turn << _IDS) + event) << _PARTS) + first + min(part, _ROOM[first])


def end_of(turn: int) -> int:
    """A number behind all of a run's, and before all of the next one's."""
    return ((turn + 1) << (_IDS + _PARTS)) - 1


def turn_of(number: int) -> int:
    """The turn of the run that an event of this number is of."""
    return number >> (_IDS + _PARTS)


def event_of(number: int) -> int:
    """The id of that event in the record of its run."""
    return (number >> _PARTS) & ((1 << _IDS) - 1)


def first_of(number: int) -> int:
    """How it was told: the first place of what was told in this way."""
    return max(first for first in _ROOM if first <= number % STEP)
