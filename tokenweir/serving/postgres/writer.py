"""Writes the events of one run for its worker: into memory, and from there to Postgres."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from tokenweir.serving.log.blocks import weight
from tokenweir.serving.log.events import END, Envelope, Event
from tokenweir.serving.log.tail import Tail
from tokenweir.serving.problems import LostError, StoreError

__all__ = ["PostgresWriter"]


class _Log(Protocol):
    """The log, which saves the events of all writers."""

    @property
    def full(self) -> bool: ...

    async def ready(self) -> None: ...

    def wrote(self, writer: PostgresWriter, size: int, *, urgent: bool) -> None:
        """Note that an event of so many bytes waits to be written."""
        ...

    def hurry(self, writer: PostgresWriter) -> None:
        """Write a writer's waiting events at once."""
        ...


class PostgresWriter:
    """An ``EventWriter``.

    Attributes:
        run: The run's id.
        tail: Its newest events, for readers in this process.
        waiting: Events that are not in Postgres yet.
        last_saved: The id of the last event in Postgres.
        lost: Whether another worker has claimed the run, or it has ended.
    """

    def __init__(
        self,
        log: _Log,
        run: str,
        epoch: int,
        on_lost: Callable[[], None] | None,
        kept: int,
        first: int,
    ) -> None:
        """``kept`` is the greatest id in Postgres; the next event gets ``first`` + 1."""
        self.run = run
        self.epoch = epoch
        self.kept = kept
        self.tail = Tail(first, kept)
        self.waiting: list[Event] = []
        self.last_saved = kept
        self.lost = False
        self._log = log
        self._on_lost = on_lost
        self._unsaved: deque[int] = deque()
        """The ids of durable events that are not in Postgres yet."""
        self._savers: list[tuple[int, asyncio.Future[None]]] = []

    def append(
        self, kind: str, body: bytes, *, envelope: Envelope | None = None, durable: bool = False
    ) -> Event:
        if self.lost:
            raise LostError
        tail = self.tail
        event = tail.add(kind, body, envelope)
        self.waiting.append(event)
        if durable:
            self._unsaved.append(event.id)
        elif not self._unsaved:
            tail.show(event.id)
        self._log.wrote(self, weight(event), urgent=durable)
        return event

    @property
    def full(self) -> bool:
        return self._log.full

    async def ready(self) -> None:
        await self._log.ready()

    async def saved(self) -> None:
        if self.lost:
            raise LostError
        if not self.waiting:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._savers.append((self.tail.last, waiting))
        self._log.hurry(self)
        await waiting

    # For the log

    def are_saved(self, last: Event) -> None:
        """Note that the events up to this one are in Postgres."""
        tail, unsaved = self.tail, self._unsaved
        self.last_saved = last.id
        while unsaved and unsaved[0] <= last.id:
            unsaved.popleft()
        tail.show(unsaved[0] - 1 if unsaved else tail.last)
        tail.trim(last.id)
        left = []
        for number, waiting in self._savers:
            if number > last.id:
                left.append((number, waiting))
            elif not waiting.done():
                waiting.set_result(None)
        self._savers = left

    def fail(self) -> None:
        """Raise StoreError in all waiters, as Postgres cannot be reached."""
        for _, waiting in self._savers:
            if not waiting.done():
                waiting.set_exception(StoreError())
        self._savers.clear()

    def close(self) -> None:
        """Stop writing. Readers see the visible events, and read further ones from Postgres."""
        self.lost = True
        self.waiting.clear()
        for _, waiting in self._savers:
            if not waiting.done():
                waiting.set_exception(LostError())
        self._savers.clear()
        self.tail.end()

    def lose(self) -> None:
        """Stop writing, as another worker has claimed the run."""
        if not self.lost:
            self.close()
            if self._on_lost is not None:
                self._on_lost()

    def last_events(self, last: list[tuple[str, bytes]]) -> list[Event]:
        """The events that end the run; ``ended`` makes them visible."""
        made = list[Event]()
        number = self.tail.last
        for kind, body in last:
            number += 1
            made.append(Event(number, kind, body))
        return made

    def ended(self, events: list[Event]) -> None:
        """Make the last events visible, as they are in Postgres."""
        assert events[-1].kind == END
        for event in events:
            self.tail.add(event.kind, event.body)
        self.tail.show(self.tail.last)
        self._unsaved.clear()
        self.last_saved = self.tail.last
        self.close()
