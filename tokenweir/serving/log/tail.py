"""The newest events of one run, in memory, and the readers that wait for more.

All implementations of the event log use these. No I/O.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from contextvars import copy_context

from tokenweir.serving.log.events import END, PAGE, Envelope, Event, Taker, fitting
from tokenweir.serving.problems import CutOffError

__all__ = ["Tail", "TailReader"]

_PAUSE = 0.001
"""Seconds without events after which the next one is handed on at once, so that slow tokens are not
delayed. Events in faster succession wait for the loop's next iteration, and go as one part."""

_IN_MEMORY = 256
"""The number of events that stay in memory; slower readers read from the disk."""

_GAP = 1_000_000
"""After a crash, ids continue at the next multiple of this: a batch cannot have lost as many."""


class Tail:
    """The newest events of one run, in memory, and the readers that wait for more.

    Attributes:
        last: The greatest id given so far.
        visible: The greatest id that readers may see.
        dropped: The greatest id that is no longer in memory.
        cut: Whether another process, not this one, will continue the record.
        ended: Whether the end was appended; readers may not see it yet.
    """

    __slots__ = ("_events", "_sleeping", "closed", "cut", "dropped", "ended", "last", "visible")

    def __init__(self, last: int = 0, dropped: int = 0) -> None:
        self.last = last
        self.visible = last
        self.dropped = dropped
        self.closed = False
        self.cut = False
        self.ended = False
        self._events: list[Event] = []
        self._sleeping: set[TailReader] = set()

    @property
    def kept(self) -> int:
        """The greatest id of an event, in memory or dropped; 0 if there is none."""
        return self._events[-1].id if self._events else self.dropped

    @property
    def shown(self) -> int:
        """The greatest id of an event that readers may see, in memory or dropped; 0 if none.

        ``visible`` may be greater than this after another process's record was continued.
        """
        for event in reversed(self._events):
            if event.id <= self.visible:
                return event.id
        return self.dropped

    def add(self, kind: str, body: bytes, envelope: Envelope | None = None) -> Event:
        """Append an event; ``show`` makes it visible."""
        self.last += 1
        event = Event(self.last, kind, body, envelope)
        if envelope is not None and not envelope.id:
            envelope.id = self.last
        self._events.append(event)
        if kind == END:
            self.ended = True
        return event

    def extend(self, events: Sequence[Event]) -> None:
        """Append those of some events that are new; ``show`` makes them visible."""
        first = bisect_right(events, self.last, key=_id_of)
        if first < len(events):
            self._events.extend(events[first:])
            self.last = events[-1].id

    def show(self, id: int) -> None:
        """Let readers see the events up to an id."""
        if id > self.visible:
            self.visible = id
            self._wake()

    def end(self) -> None:
        """Note that no more events come: readers end when they have read the rest."""
        self.closed = True
        self._wake()

    def suspend(self) -> None:
        """Note that this process adds no more events: readers without the end are cut off."""
        self.cut = not self.closed
        self.end()

    def go_on(self, kept: int) -> None:
        """Continue after another process's events, up to this id; wake the waiting readers."""
        self.last = self.visible = (kept // _GAP + 1) * _GAP
        self.dropped = kept
        self._wake()

    def trim(self, kept: int) -> None:
        """Drop old events if there are many, but only up to an id that is stored elsewhere."""
        if self.last - self.dropped > 2 * _IN_MEMORY:
            stay = max(_IN_MEMORY, self.last - kept)
            if len(self._events) > stay:
                self.dropped = self._events[-stay - 1].id
                del self._events[:-stay]

    def after(self, id: int) -> list[Event]:
        """The first page of visible events in memory with greater ids."""
        events = self._events
        if not events or events[-1].id <= id:
            return []
        # A reader that keeps up lacks only the last few.
        start = len(events) - 1
        if events[start - 1].id > id:
            start = bisect_right(events, id, key=_id_of)
        found = events[start : start + PAGE]
        if len(found) > 1:
            found = fitting(found)
        while found and found[-1].id > self.visible:
            found.pop()
        return found

    def between(self, after: int, upto: int) -> list[Event]:
        """The visible events in memory with ids greater than ``after``, up to ``upto``."""
        events, upto = self._events, min(upto, self.visible)
        first = bisect_right(events, after, key=_id_of)
        return events[first : bisect_right(events, upto, key=_id_of)]

    def newest(self, kind: str) -> Event | None:
        """The last event of this kind in memory."""
        return next((event for event in reversed(self._events) if event.kind == kind), None)

    def bytes(self) -> int:
        """The size of all events in memory."""
        envelopes = {event.envelope.id: event.envelope for event in self._events if event.envelope}
        around = sum(len(each.head) + len(each.tail) for each in envelopes.values())
        return around + sum(len(event.body) for event in self._events)

    def follow(self, id: int) -> TailReader:
        """A reader of the events after an id."""
        return TailReader(self, id)

    def _wake(self) -> None:
        for reader in self._sleeping:
            reader._wake()


class TailReader:
    """Reads a tail, live, until the end, or until the next event it needs was dropped.

    Raises CutOffError after the existing events if the tail was suspended.

    Attributes:
        seen: The id of the last event returned or pushed; at first, of the one to start after.
    """

    __slots__ = ("_at", "_context", "_loop", "_over", "_soon", "_tail", "_taker", "_turn", "seen")

    def __init__(self, tail: Tail, after: int) -> None:
        self.seen = after
        self._tail = tail
        self._taker: Taker[list[Event]] | None = None
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._turn: asyncio.Future[None] | None = None
        """The future that ``__anext__`` sleeps on."""
        self._soon = False
        """Whether a call of ``_hand_on`` is scheduled; one call covers all events of one iteration
        of the loop."""
        self._context = copy_context()
        self._at = 0.0
        """When events were last handed on."""

    def __aiter__(self) -> TailReader:
        return self

    async def __anext__(self) -> list[Event]:
        tail = self._tail
        while not self._over and self.seen >= tail.dropped:
            if found := tail.after(self.seen):
                self.seen = found[-1].id
                self._over = found[-1].kind == END
                return found
            if tail.closed:
                self._over = True
                if tail.cut:
                    raise CutOffError("the server is stopping; the run continues later")
            else:
                await self._sleep()
        self._over = True
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._over = True
        self._taker = None

    def push(self, taker: Taker[list[Event]]) -> None:
        self._taker = taker

    async def _sleep(self) -> None:
        self._turn = self._loop.create_future()
        self._tail._sleeping.add(self)
        try:
            await self._turn
        finally:
            self._tail._sleeping.discard(self)
            self._turn = None

    def _wake(self) -> None:
        if self._taker is None:
            if self._turn is not None and not self._turn.done():
                self._turn.set_result(None)
        elif not self._soon:
            if self._loop.time() - self._at >= _PAUSE:
                self._hand_on()
            else:
                self._soon = True
                self._loop.call_soon(self._hand_on, context=self._context)

    def _hand_on(self) -> None:
        """Pass new events to the taker; wake ``__anext__`` if there is more to do."""
        self._soon = False
        turn, taker, tail = self._turn, self._taker, self._tail
        if turn is None or turn.done():
            return  # it is awake, and will see the events itself
        try:
            # The reader's own task handles the end, with the events before it.
            if (
                taker is not None
                and not tail.closed
                and self.seen >= tail.dropped
                and taker.ready
                and (found := tail.after(self.seen))
            ):
                self.seen = found[-1].id
                taker.take(found)
                self._at = self._loop.time()
                if self.seen < tail.visible:
                    self._wake()
                return
        except Exception as error:  # noqa: BLE001 - raise it in the reader, not in the writer
            turn.set_exception(error)
        else:
            turn.set_result(None)


def _id_of(event: Event) -> int:
    return event.id
