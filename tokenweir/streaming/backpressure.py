"""Holding a run back to its reader's pace.

A ``Gate`` stands where tokens are made: every model call passes it after each token, and waits in
it while the reader is behind. The gate of the run that one is in is found by its callbacks, so it
needs no global and works wherever config is passed, on Python 3.10 too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from threading import get_ident
from typing import Any

from tokenweir.streaming.channel import ReaderLeft, Sink

__all__ = [
    "Gate",
    "PumpGate",
    "Watching",
    "current_gate",
    "find_gate",
    "wait_for_room",
    "wait_for_room_sync",
]


current_gate: ContextVar[Gate | None] = ContextVar("current_gate", default=None)
"""The gate of the model call that this thread is making, for what lies deeper than callbacks."""


class Gate:
    """Holds producers that put their chunks into the sink themselves.

    Args:
        sink: Where the chunks end up.
        thread: The thread of the event loop that the reader lives in, where nothing may block;
            None when the reader is a thread of its own.
    """

    __slots__ = ("sink", "thread")

    def __init__(self, sink: Sink[Any], thread: int | None) -> None:
        self.sink = sink
        self.thread = thread

    @property
    def shut(self) -> bool:
        """Whether producers must wait."""
        return self.sink.full

    @property
    def room(self) -> int:
        """How many chunks may be put before the next ``admit``; at least one."""
        return self.sink.free

    def takes(self, chunks: int) -> bool:
        """Whether so many chunks may be put without ``admit`` after them."""
        return self.sink.takes(chunks)

    def passed(self, chunks: int) -> bool:
        """Count chunks that came together; whether to ``admit`` before the next ones."""
        return self.shut or self.sink.closed

    async def admit(self) -> None:
        """Wait while the reader is behind; ReaderLeft when it has gone."""
        # A sync call inside an async node blocks the reader's own loop, and its callbacks run on
        # another one: waiting there for the reader would be waiting for ever.
        if self.shut and (self.thread is None or get_ident() == self.thread):
            await self._wait()
        if self.sink.closed:
            raise ReaderLeft("the reader of this stream has gone")

    def admit_sync(self) -> None:
        """Block while the reader is behind, unless that would block the reader itself."""
        if self.shut and get_ident() != self.thread:
            self._wait_sync()
        if self.sink.closed:
            raise ReaderLeft("the reader of this stream has gone")

    async def _wait(self) -> None:
        await self.sink.room()

    def _wait_sync(self) -> None:
        self.sink.wait_room()


class PumpGate(Gate):
    """Holds producers whose chunks go through LangGraph's own queue, which has no bound.

    A pump moves them from there to the sink. When the sink is full the gate shuts, and it opens
    again only when the pump has caught up with the queue, or the queue would grow by one chunk
    per call and turn.
    """

    __slots__ = ("_passed", "_shut", "_stride", "_waiting")

    def __init__(self, sink: Sink[Any], thread: int | None) -> None:
        super().__init__(sink, thread)
        self._shut = False
        self._passed = 0
        self._stride = max(sink.statistics().buffer, 16)
        self._waiting: Sink[None] = Sink(0)
        sink.on_leave(self, self._waiting.close)

    @property
    def shut(self) -> bool:
        return self._shut

    @property
    def room(self) -> int:
        return self._stride

    def takes(self, chunks: int) -> bool:
        return False  # the pump must have its turns

    def passed(self, chunks: int) -> bool:
        self._passed += chunks - 1  # the last one is counted by admit
        return True

    async def admit(self) -> None:
        self._passed += 1
        if self._passed > self._stride:
            # A model can make many chunks of one read of its socket. Let the pump see them.
            await asyncio.sleep(0)
        await super().admit()

    async def forward(self, part: Any) -> None:
        """The pump's turn: put one part into the sink, and wait while it is full."""
        self._passed = 0
        self.sink.put(part)
        if self.sink.full:
            self._close()
            await self.sink.room()
            # Runs when the pump next waits: for the graph, all taken; or for room, shut again.
            asyncio.get_running_loop().call_soon(self._open)

    def forward_sync(self, part: Any) -> None:
        """As ``forward``, from a pump in a thread."""
        self.sink.put(part)
        if self.sink.full:
            self._close()
            self.sink.wait_room()
            self._open()

    async def _wait(self) -> None:
        await self._waiting.room()

    def _wait_sync(self) -> None:
        self._waiting.wait_room()

    def _close(self) -> None:
        if not self._shut:
            self._waiting.put(None)
            self._shut = True

    def _open(self) -> None:
        if self._shut and not self.sink.full:
            self._shut = False
            self._waiting.get_nowait()


class Watching:
    """Marks the callback handlers that belong to a stream of ours, and holds its gate."""

    gate: Gate


def find_gate(callbacks: Any) -> Gate | None:
    """The gate of the stream that watches these callbacks (a manager or a list of handlers)."""
    handlers = getattr(callbacks, "handlers", callbacks)
    for handler in handlers or ():
        if isinstance(handler, Watching):
            return handler.gate
    return None


async def wait_for_room(config: Mapping[str, Any] | None) -> None:
    """Wait while the stream that watches this config is full; returns at once when none does."""
    gate = find_gate(config.get("callbacks")) if config else None
    if gate is not None:
        await gate.admit()


def wait_for_room_sync(config: Mapping[str, Any] | None) -> None:
    """As ``wait_for_room``, for a node that is a plain function."""
    gate = find_gate(config.get("callbacks")) if config else None
    if gate is not None:
        gate.admit_sync()
