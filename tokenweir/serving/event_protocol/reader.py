"""Reads the events of a thread's runs for one client, run after run, without end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from tokenweir.serving.log.events import Event, EventReader, Taker
from tokenweir.serving.problems import NotFoundError
from tokenweir.serving.running.records import Run
from tokenweir.serving.running.runs import Runs

__all__ = ["Encoder", "ThreadParts"]


class Encoder(Protocol):
    """Writes the events of one run."""

    def encode(self, events: list[Event]) -> list[bytes]:
        """The documents to send for these events, one per document."""
        ...


E = TypeVar("E", bound=Encoder)


class ThreadParts(Generic[E]):
    """The parts of a streamed response: pulled, or pushed as ``EventParts`` does.

    Args:
        runs: The service that has the thread's runs.
        thread_id: The thread.
        owner: The owner of the thread.
        turn: Start after the run of this turn.
        begin: Starts a run: gives its encoder, the documents for what it took in, and the id of
            the event to continue after.

    Attributes:
        turn: The turn of the run that is read, or that was read last.
        frames: The encoder of the run that is read; None before and after each run.
    """

    def __init__(
        self,
        runs: Runs,
        thread_id: str,
        owner: str,
        turn: int,
        begin: Callable[[Run], Awaitable[tuple[E, list[bytes], int]]],
    ) -> None:
        self._runs = runs
        self._thread = thread_id
        self._owner = owner
        self.turn = turn
        self._begin = begin
        self._events: EventReader | None = None
        self.frames: E | None = None
        self._taker: Taker[bytes] | None = None

    def __aiter__(self) -> ThreadParts[E]:
        return self

    async def __anext__(self) -> bytes:
        """The documents since the last call, as one part; never empty. Ends with the thread."""
        while True:
            if written := await self.several():
                return b"".join(written)

    async def several(self) -> list[bytes]:
        """The same as a list; empty if the new events are not for this reader."""
        if self._events is None or self.frames is None:
            return await self._next_run()
        try:
            events = await self._events.__anext__()
        except StopAsyncIteration:
            self._events = self.frames = None
            return []
        return self.frames.encode(events)

    async def _next_run(self) -> list[bytes]:
        try:
            run = await self._runs.store.next_turn(self._thread, self._owner, self.turn)
        except NotFoundError:
            raise StopAsyncIteration from None
        frames, begun, after = await self._begin(run)
        self.turn, self.frames = run.turn, frames
        self._events = self._runs.log.follow(run.id, after)
        if self._taker is not None:
            self._events.push(self)
        return begun

    async def aclose(self) -> None:
        self._taker = None
        if self._events is not None:
            await self._events.aclose()

    def push(self, taker: Taker[bytes]) -> None:
        """Hand parts to a taker whenever ``__anext__`` waits for events of a run."""
        self._taker = taker
        if self._events is not None:
            self._events.push(self)

    # As the taker of the run's events

    @property
    def ready(self) -> bool:
        return self._taker is not None and self._taker.ready

    def take(self, part: list[Event]) -> None:
        if self._taker is None or self.frames is None:
            return
        if written := self.frames.encode(part):
            self._taker.take(b"".join(written))
