"""How long runs and their tokens take, as histograms in the form of Prometheus."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Any

from langchain_core.messages import AIMessageChunk

__all__ = ["Histogram", "RunTiming", "Timing"]

_CLAIMS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_FIRST = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_GAPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """A histogram of durations.

    Attributes:
        bounds: The upper bounds of the buckets, in seconds; one more bucket is above the last.
        counts: The number of durations in each bucket.
        sum: The sum of all durations, in seconds.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Add a duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds


class Timing:
    """The durations at one server since it started.

    Attributes:
        waited: From when a run was due to its first claim.
        taken_over: From the last heartbeat of a run's former server, or from when that server
            gave it back, to its next claim.
        first_tokens: By graph: from when a run was due to its first token.
        gaps: By graph: from one token of a message to the next.
    """

    def __init__(self) -> None:
        self.waited = Histogram(_CLAIMS)
        self.taken_over = Histogram(_CLAIMS)
        self.first_tokens: dict[str, Histogram] = {}
        self.gaps: dict[str, Histogram] = {}

    def claimed(self, graph: str, epoch: int, waited: float | None) -> RunTiming:
        """Note that a run was claimed after so many seconds without a holder; None if unknown."""
        if waited is not None:
            # Negative if the clock was set back, or differs from another machine's.
            (self.waited if epoch == 1 else self.taken_over).add(max(0.0, waited))
        first = self.first_tokens.setdefault(graph, Histogram(_FIRST))
        gaps = self.gaps.setdefault(graph, Histogram(_GAPS))
        due = None if waited is None or epoch > 1 else time.monotonic() - waited
        return RunTiming(first, gaps, due)


class RunTiming:
    """Times the tokens of one run as they are produced.

    A token is a chunk that is not empty.
    """

    __slots__ = ("_clock", "_due", "_first", "_gaps", "_last")

    def __init__(self, first: Histogram, gaps: Histogram, due: float | None) -> None:
        """``due`` is in ``time.monotonic``; None if another server had the first token."""
        self._first = first
        self._gaps = gaps
        self._due = due
        self._clock = time.monotonic
        self._last: dict[str, float] = {}
        """By message: the time of its last token."""

    def chunk(self, chunk: Any) -> None:
        """Note a message or a chunk of one."""
        if type(chunk) is AIMessageChunk and (
            chunk.content or chunk.tool_call_chunks or chunk.additional_kwargs
        ):
            self.token(str(chunk.id))

    def token(self, message_id: str) -> None:
        """Note a token of a message."""
        now = self._clock()
        last = self._last.get(message_id)
        self._last[message_id] = now
        if last is not None:
            self._gaps.add(now - last)
        elif self._due is not None:
            self._first.add(now - self._due)
            self._due = None
