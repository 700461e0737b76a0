"""The record of a run: events with increasing ids, appended once and read from any id.

The interface and its home in memory; ``sqlite_log.py`` is the home on a disk. What the events mean
is the runs' matter, how they look on a wire the protocols'.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
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
        """The greatest id that readers of a run in progress may have; 0 if it is over."""
        ...

    async def reopen(self, run_id: str) -> int:
        """Go on with a record that was cut off; the greatest id kept.

        Ids that a reader may have seen and that were lost are not given a second time.

        Readers see the events up to it, and wait for more.
        """
        ...

    async def ready(self) -> None:
        """Wait while more waits for the disk than may; writers of many events call it."""
        ...

    async def saved(self) -> None:
        """Wait until all that was written so far would survive the process."""
        ...

    async def delete(self, run_id: str) -> None:
        """Forget a run; its readers end."""
        ...

    def suspend(self, run_id: str) -> None:
        """Let a run's readers end, although its record does not: another process goes on."""
        ...

    @property
    def size(self) -> int:
        """Bytes of data in all records."""
        ...

    @property
    def problem(self) -> str | None:
        """Why nothing can be written just now; None if all is well."""
        ...

    async def close(self) -> None:
        """Write what is not written, and end all readers."""
        ...


class Tail:
    """The newest events of one run, in memory, and who waits for more.

    Attributes:
        last: The greatest id given.
        visible: The greatest id that readers may see.
        dropped: The greatest id that is not in memory any more.
    """

    __slots__ = ("_events", "_waiting", "closed", "dropped", "last", "visible")

    def __init__(self, last: int = 0, dropped: int = 0) -> None:
        self.last = last
        self.visible = last
        self.dropped = dropped
        self.closed = False
        self._events: list[Event] = []
        self._waiting: set[asyncio.Future[None]] = set()

    def add(self, kind: str, data: bytes) -> Event:
        """Append an event, for nobody to see yet."""
        self.last += 1
        event = Event(self.last, kind, data)
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

    def drop(self, keep: int) -> None:
        """Drop all but the newest ``keep`` events."""
        if len(self._events) > keep:
            self.dropped = self._events[-keep - 1].id
            del self._events[:-keep]

    def after(self, id: int) -> list[Event]:
        """The visible events in memory with greater ids."""
        events = self._events
        if not events or events[-1].id <= id:
            return []
        found = events[bisect_right(events, id, key=_id_of) :]
        while found and found[-1].id > self.visible:
            found.pop()
        return found

    async def follow(self, id: int) -> AsyncIterator[list[Event]]:
        """The events after an id, live, to the end, or until they have been dropped."""
        seen = id
        while seen >= self.dropped:
            if found := self.after(seen):
                seen = found[-1].id
                yield found
                if found[-1].kind == END:
                    return
            elif self.closed:
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


class MemoryLog:
    """An event log in memory: gone with the process. Finished runs are kept until deleted."""

    def __init__(self) -> None:
        self._tails: dict[str, Tail] = {}
        self._size = 0

    def open(self, run_id: str) -> None:
        self._tails.setdefault(run_id, Tail())

    def append(self, run_id: str, kind: str, data: bytes, *, durable: bool = False) -> Event:
        tail = self._tails[run_id]
        event = tail.add(kind, data)
        tail.show(event.id)
        if kind == END:
            tail.end()
        self._size += len(data)
        return event

    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[list[Event]]:
        tail = self._tails.get(run_id)
        if tail is not None:
            async for events in tail.follow(after):
                yield events

    def last_id(self, run_id: str) -> int:
        tail = self._tails.get(run_id)
        return 0 if tail is None else tail.visible

    async def reopen(self, run_id: str) -> int:
        tail = self._tails.get(run_id)
        return 0 if tail is None else tail.last

    async def ready(self) -> None:
        return

    async def saved(self) -> None:
        return

    async def delete(self, run_id: str) -> None:
        tail = self._tails.pop(run_id, None)
        if tail is not None:
            self._size -= sum(len(event.data) for event in tail.after(0))
            tail.end()

    def suspend(self, run_id: str) -> None:
        self._tails[run_id].end()

    @property
    def size(self) -> int:
        return self._size

    @property
    def problem(self) -> str | None:
        return None

    async def close(self) -> None:
        for tail in self._tails.values():
            tail.end()
