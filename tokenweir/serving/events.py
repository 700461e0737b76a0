"""The record of a run: events with increasing ids, appended once and read from any id.

The interface and its home in memory; ``sqlite_log.py`` is the home on a disk. What the events mean
is the runs' matter, how they look on a wire the protocols'.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any, Protocol

import msgspec

__all__ = ["END", "Event", "EventLog", "MemoryLog", "Tail"]

END = "end"
"""The kind of a record's last event. Its data says how the run ended: ``{"status": "success"}``,
or ``error``, ``interrupted``, ``timeout``."""


class Event:
    """One event of a run. All readers of a run share its events: treat them as read-only.

    Attributes:
        id: Greater than the id of every event before it, from 1; there may be gaps.
        kind: What ``data`` is, followed by ``|`` and the namespace for a subgraph's events
            (``messages|editor:<task id>|child:<task id>``). The kinds of a graph's run:

            - ``metadata``: ``{"run_id", "attempt"}``, the first event;
            - ``messages``: ``[message, metadata]``, a chunk (``type`` ``AIMessageChunk``) or a
              whole message. ``type`` ``remove`` says that all that came under this ``id`` is void;
            - ``custom``: what a node wrote; a token as ``messages`` has it, if it wrote one;
            - ``values``, ``updates``, ``debug``, ``tasks``, ``checkpoints``: as LangGraph has them;
            - ``error``: ``{"error": name, "message": text}``, fit for clients;
            - ``end``: the last event, see ``END``.
        data: A JSON document in UTF-8 on one line.
    """

    def __init__(self, id: int, kind: str, data: bytes) -> None:
        self.id = id
        self.kind = kind
        self.data = data

    @property
    def mode(self) -> str:
        """The kind without the namespace."""
        return self.kind.partition("|")[0]

    @property
    def namespace(self) -> tuple[str, ...]:
        """The path of the subgraph that it comes from; empty for the graph itself."""
        return tuple(self.kind.split("|")[1:])

    @cached_property
    def value(self) -> Any:
        """``data`` decoded; decoded once, however many readers ask."""
        return msgspec.json.decode(self.data)

    def __repr__(self) -> str:
        return f"Event({self.id}, {self.kind!r}, {self.data!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return (self.id, self.kind, self.data) == (other.id, other.kind, other.data)

    __hash__ = None  # type: ignore[assignment]


class EventLog(Protocol):
    """Where the events of all runs are kept. All of it is called in one event loop."""

    def open(self, run_id: str) -> None:
        """Begin a run's record, so that readers wait for its events."""
        ...

    def append(self, run_id: str, kind: str, data: bytes, *, durable: bool = False) -> Event:
        """Put one event behind the others of an open run, and return it at once.

        Nothing waits for a disk. With ``durable`` readers see this event, and what is appended
        after it, only when it would survive the process: milliseconds later, where there is a
        disk. An event of the kind ``END`` closes the record and is always durable.
        """
        ...

    def follow(self, run_id: str, after: int = 0) -> AsyncIterator[list[Event]]:
        """The events with ids greater than ``after``: those there are, then live ones to the end.

        In lists, never empty: what has come since the last one. A reader may be as slow as it
        likes: nothing is kept for it. A run that is not known, or no longer kept, has no events
        and ends at once.
        """
        ...

    def last_id(self, run_id: str) -> int:
        """The greatest id of a run that is being recorded; 0 if there is none."""
        ...

    async def reopen(self, run_id: str) -> int:
        """Go on with a record that was cut off; the greatest id kept.

        Ids that a reader may have seen and that were lost are not given a second time.
        """
        ...

    async def ready(self) -> None:
        """Wait while more waits for the disk than may; writers of many events call it."""
        ...

    async def delete(self, run_id: str) -> None:
        """Forget a run; its readers end."""
        ...

    async def close(self) -> None:
        """Write what is not written, and end all readers."""
        ...


class Tail:
    """The newest events of one run, in memory, and who waits for more."""

    __slots__ = ("closed", "events", "last", "visible", "waiting")

    def __init__(self, last: int = 0) -> None:
        self.events: list[Event] = []
        self.last = last
        self.visible = 0
        """How many of the events readers may see."""
        self.closed = False
        self.waiting: set[asyncio.Future[None]] = set()

    def add(self, kind: str, data: bytes) -> Event:
        self.last += 1
        event = Event(self.last, kind, data)
        self.events.append(event)
        return event

    def show(self, count: int) -> None:
        """Let readers see the first ``count`` events."""
        self.visible = count
        self.wake()

    def wake(self) -> None:
        if self.waiting:
            for waiting in self.waiting:
                if not waiting.done():
                    waiting.set_result(None)
            self.waiting.clear()

    def end(self) -> None:
        self.closed = True
        self.wake()

    def index(self, after: int) -> int:
        """The place of the first event whose id is greater than ``after``."""
        events = self.events
        low, high = 0, len(events)
        # From the end: nearly every reader has seen nearly everything.
        if not events or events[-1].id <= after:
            return high
        while low < high:
            middle = (low + high) // 2
            if events[middle].id <= after:
                low = middle + 1
            else:
                high = middle
        return low

    async def more(self) -> None:
        """Wait until something changes."""
        waiting = asyncio.get_running_loop().create_future()
        self.waiting.add(waiting)
        try:
            await waiting
        finally:
            self.waiting.discard(waiting)

    async def follow(self, after: int) -> AsyncIterator[list[Event]]:
        """The events after an id, live, to the end."""
        while True:
            if found := self.events[self.index(after) : self.visible]:
                after = found[-1].id
                yield found
                if found[-1].kind == END:
                    return
            elif self.closed:
                return
            else:
                await self.more()


class MemoryLog:
    """An event log in memory: gone with the process. Finished runs are kept until deleted."""

    def __init__(self) -> None:
        self._tails: dict[str, Tail] = {}

    def open(self, run_id: str) -> None:
        self._tails.setdefault(run_id, Tail())

    def append(self, run_id: str, kind: str, data: bytes, *, durable: bool = False) -> Event:
        tail = self._tails[run_id]
        event = tail.add(kind, data)
        tail.show(len(tail.events))
        return event

    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[list[Event]]:
        tail = self._tails.get(run_id)
        if tail is not None:
            async for events in tail.follow(after):
                yield events

    def last_id(self, run_id: str) -> int:
        tail = self._tails.get(run_id)
        return tail.last if tail is not None else 0

    async def reopen(self, run_id: str) -> int:
        return self.last_id(run_id)

    async def ready(self) -> None:
        return

    async def delete(self, run_id: str) -> None:
        tail = self._tails.pop(run_id, None)
        if tail is not None:
            tail.end()

    async def close(self) -> None:
        for tail in self._tails.values():
            tail.end()
