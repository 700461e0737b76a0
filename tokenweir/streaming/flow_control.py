"""Flow control: holds the model calls of a run back to the pace of its reader.

A model call records what it has sent, and waits while the reader is behind. It finds the flow
control of its run among its callbacks. This needs no global, and works wherever the config is
passed, on Python 3.10 too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from threading import get_ident
from typing import Any

from tokenweir.streaming.channel import ReaderLeft, SendChannel, Waiters

__all__ = [
    "FlowControl",
    "FlowControlled",
    "PumpedFlowControl",
    "current_flow_control",
    "find_flow_control",
    "wait_for_reader",
]


current_flow_control: ContextVar[FlowControl | None] = ContextVar(
    "current_flow_control", default=None
)
"""The flow control of the model call being made, for code that is given no callbacks."""


class FlowControl:
    """Flow control for producers that send their items into the channel themselves.

    Args:
        channel: Where the items go.
        reader_thread: The thread of the event loop in which the reader lives, where nothing may
            block; None when the reader has a thread of its own.
    """

    __slots__ = ("_waiters", "channel", "reader_thread")

    def __init__(self, channel: SendChannel[Any], reader_thread: int | None) -> None:
        self.channel = channel
        self.reader_thread = reader_thread
        self._waiters = channel.waiters

    def has_room(self, items: int) -> bool:
        """Whether this many items may be sent without a wait after them."""
        return self.channel.has_room(items)

    @property
    def available(self) -> int:
        """How many items may be sent before the next wait; at least one."""
        return self.channel.available

    def blocked(self) -> bool:
        """Whether the reader is behind."""
        return self.channel.full

    def record(self, items: int) -> bool:
        """Count items that were just sent, and return whether to ``wait`` before the next ones."""
        return self.blocked() or self.channel.closed

    async def wait(self) -> None:
        """Wait while the reader is behind. Raises ReaderLeft if it has left."""
        # A sync call inside an async node blocks the reader's own loop, and its callbacks run in
        # another one: if they waited for the reader, they would deadlock.
        if self.blocked() and self.reader_thread in (None, get_ident()):
            await self._waiters.wait(self.blocked)
        if self.channel.closed:
            raise ReaderLeft

    def wait_sync(self) -> None:
        """Block while the reader is behind, unless that would block the reader itself."""
        if self.blocked() and get_ident() != self.reader_thread:
            self._waiters.wait_sync(self.blocked)
        if self.channel.closed:
            raise ReaderLeft


class PumpedFlowControl(FlowControl):
    """Flow control for producers whose items go through LangGraph's queue, which has no bound.

    A pump moves the items from the queue into the channel. When the channel is full, the producers
    are blocked. They go on only when the pump has emptied the queue; otherwise the queue would grow
    by one item per call each time.
    """

    __slots__ = ("_blocked", "_since_pumped", "_stride")

    def __init__(self, channel: SendChannel[Any], reader_thread: int | None) -> None:
        super().__init__(channel, reader_thread)
        self._blocked = False
        self._since_pumped = 0
        self._stride = max(channel.statistics().buffer, 16)
        self._waiters = Waiters()
        channel.add_close_callback(self, self._waiters.wake_all)

    def has_room(self, items: int) -> bool:
        return False  # the pump must get its turns

    @property
    def available(self) -> int:
        return self._stride

    def blocked(self) -> bool:
        return self._blocked and not self.channel.closed

    def record(self, items: int) -> bool:
        self._since_pumped += items
        return True

    async def wait(self) -> None:
        if self._since_pumped > self._stride:
            # A model can make many chunks of one read of its socket: let the pump see them.
            await asyncio.sleep(0)
        await super().wait()

    async def pump(self, part: Any, *, blocking: bool = False) -> None:
        """Move one part into the channel, and wait (or block) while the channel is full."""
        self._since_pumped = 0
        self.channel.send_nowait(part)
        if not self.channel.full:
            return
        self._blocked = True
        if blocking:
            self.channel.wait_for_room_sync()
            self._unblock()
        else:
            await self.channel.wait_for_room()
            # This runs when the pump next waits: for the graph, with the queue empty; or for room,
            # with the channel full again.
            asyncio.get_running_loop().call_soon(self._unblock)

    def _unblock(self) -> None:
        if self._blocked and not self.channel.full:
            self._blocked = False
            self._waiters.wake_all()


class FlowControlled:
    """Marks the callback handlers that belong to one of Tokenweir's streams."""

    flow: FlowControl


def find_flow_control(callbacks: Any) -> FlowControl | None:
    """The flow control of the stream with these callbacks (a manager or a list of handlers)."""
    handlers = getattr(callbacks, "handlers", callbacks)
    for handler in handlers or ():
        if isinstance(handler, FlowControlled):
            return handler.flow
    return None


async def wait_for_reader(config: Mapping[str, Any] | None, *, blocking: bool = False) -> None:
    """Wait while the reader of the run with this config is behind; return at once without one.

    Args:
        config: The config of a node.
        blocking: Block this thread instead of awaiting, for a node that is a plain function.
    """
    flow = find_flow_control(config.get("callbacks")) if config else None
    if flow is None:
        return
    flow.record(1)
    if blocking:
        flow.wait_sync()
    else:
        await flow.wait()
