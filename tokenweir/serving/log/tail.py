"""The newest events of one run, in memory, and the readers that wait for more.

Both homes of the event log are made of these. No I/O.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator

from tokenweir.serving.log.events import END, PAGE, Envelope, Event
from tokenweir.serving.problems import CutOffError

__all__ = ["Tail"]


class Tail:
    """The newest events of one run, in memory, and who waits for more.

    Attributes:
        last: The greatest id given.
        visible: The greatest id that readers may see.
        dropped: The greatest id that is not in memory any more.
        cut: Whether another process will write on, and not this one.
    """

    __slots__ = ("_events", "_waiting", "closed", "cut", "dropped", "last", "visible")

    def __init__(self, last: int = 0, dropped: int = 0) -> None:
        self.last = last
        self.visible = last
        self.dropped = dropped
        self.closed = False
        self.cut = False
        self._events: list[Event] = []
        self._waiting: set[asyncio.Future[None]] = set()

    def add(self, kind: str, body: bytes, envelope: Envelope | None = None) -> Event:
        """Append an event, for nobody to see yet."""
        self.last += 1
        event = Event(self.last, kind, body, envelope)
        if envelope is not None and not envelope.id:
            envelope.id = self.last
        self._events.append(event)
        return event

    def show(self, id: int) -> None:
        """Let readers see the events up to an id."""
        if id > self.visible:
            self.visible = id
            self._wake()

    def end(self) -> None:
        """Nothing more comes: readers end when they have read what there is."""
        self.closed = True
        self._wake()

    def suspend(self) -> None:
        """Nothing more comes from this process: readers are cut off, if they have not the end."""
        self.cut = not self.closed
        self.end()

    def go_on(self, last: int, dropped: int) -> None:
        """Begin behind what another process wrote; who waits already looks again."""
        self.last = self.visible = last
        self.dropped = dropped
        self._wake()

    def drop(self, keep: int) -> None:
        """Drop all but the newest ``keep`` events."""
        if len(self._events) > keep:
            self.dropped = self._events[-keep - 1].id
            del self._events[:-keep]

    def after(self, id: int) -> list[Event]:
        """The first ``PAGE`` of the visible events in memory with greater ids."""
        events = self._events
        if not events or events[-1].id <= id:
            return []
        # A reader who keeps up lacks only the last few.
        start = len(events) - 1
        if events[start - 1].id > id:
            start = bisect_right(events, id, key=_id_of)
        found = events[start : start + PAGE]
        while found and found[-1].id > self.visible:
            found.pop()
        return found

    def newest(self, kind: str) -> Event | None:
        """The last event in memory of a kind."""
        return next((event for event in reversed(self._events) if event.kind == kind), None)

    def bytes(self) -> int:
        """Of all events in memory."""
        envelopes = {event.envelope.id: event.envelope for event in self._events if event.envelope}
        around = sum(len(each.head) + len(each.tail) for each in envelopes.values())
        return around + sum(len(event.body) for event in self._events)

    async def follow(self, id: int) -> AsyncIterator[list[Event]]:
        """The events after an id, live, to the end, or until they have been dropped.

        Raises CutOffError behind those there are if the record was suspended.
        """
        seen = id
        while seen >= self.dropped:
            if found := self.after(seen):
                seen = found[-1].id
                yield found
                if found[-1].kind == END:
                    return
            elif self.closed:
                if self.cut:
                    raise CutOffError("the server is stopping; the run goes on at its next start")
                return
            else:
                waiting = asyncio.get_running_loop().create_future()
                self._waiting.add(waiting)
                try:
                    await waiting
                finally:
                    self._waiting.discard(waiting)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for each in waiting:
            if not each.done():
                each.set_result(None)


def _id_of(event: Event) -> int:
    return event.id
