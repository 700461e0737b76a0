"""A bounded channel: many producers send items, one reader receives them.

Sending never blocks and never drops. A producer that finds the channel ``full`` after it has sent
an item waits for room before it makes the next one, and so stops reading its provider's socket.
Producers go on when the reader has taken half of what waited. So the channel never holds more than
``buffer`` items plus one per waiting producer.

Producers may live in any thread or event loop, the reader in one. There are no locks: ``append``
and ``popleft`` of a deque are atomic, and each side announces that it waits before it looks again.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any, Generic, Protocol, TypeVar

from tokenweir.types import Metadata, Namespace, StreamStatistics

__all__ = [
    "DirectReceiver",
    "EndOfStream",
    "ReaderLeft",
    "ReceiveChannel",
    "SendChannel",
    "TextWriter",
    "Waiters",
    "WouldBlock",
    "open_channel",
]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class WouldBlock(Exception):  # noqa: N818
    """Raised when there is no item to receive yet."""


class EndOfStream(Exception):  # noqa: N818
    """Raised at the reader when the run has ended and it has received every item."""


class ReaderLeft(BaseException):
    """Raised in a producer whose reader has left, so that the model call stops.

    It is no ``Exception``, because like a cancellation it must pass ``except Exception`` in a
    user's node. The node would otherwise take it for a failure of the model.
    """

    def __init__(self) -> None:
        super().__init__("the reader of this stream has left")


TextWriter = Callable[[str], bool]
"""Takes a text delta of one message; returns False when the caller must send a chunk instead."""


class DirectReceiver(Protocol[T_contra]):
    """A reader that producers call in their own thread, so that it need not wait in a task."""

    def receive(self, item: T_contra) -> bool:
        """Take an item at once, or return False to leave it in the channel.

        Called only while the channel is empty.
        """

    def text_writer(
        self, namespace: Namespace, metadata: Metadata, message_id: str
    ) -> TextWriter | None:
        """Factory for a per-message text writer; None if the reader needs every chunk.

        The first text follows a chunk of plain text of the same message. Each text stands for one
        more such chunk, which differs from the first in its text alone.
        """

    def wake(self) -> None:
        """An item waits in the channel, or the stream has ended. Called from any thread."""


class _Wakeup:
    """One wait of a task. Call it, from any thread, to resolve ``future``."""

    __slots__ = ("_loop", "_thread", "future")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self.future: asyncio.Future[None] = self._loop.create_future()

    def __call__(self) -> None:
        if get_ident() != self._thread:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._resolve)
        elif not self.future.done():
            self.future.set_result(None)

    def _resolve(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Waiters:
    """Tasks and threads that wait until they are all woken. Safe from any thread."""

    __slots__ = ("_wake",)

    def __init__(self) -> None:
        self._wake: deque[Callable[[], object]] = deque()

    def __len__(self) -> int:
        return len(self._wake)

    async def wait(self, must_wait: Callable[[], bool]) -> None:
        """Wait in a task for as long as ``must_wait()`` holds."""
        while must_wait():
            wakeup = _Wakeup()
            self._wake.append(wakeup)
            if not must_wait():  # the condition may have changed just before the announcement
                self.wake_all()
            await wakeup.future

    def wait_sync(self, must_wait: Callable[[], bool]) -> None:
        """Block this thread for as long as ``must_wait()`` holds."""
        while must_wait():
            event = threading.Event()
            self._wake.append(event.set)
            if not must_wait():
                self.wake_all()
            event.wait()

    def wake_all(self) -> None:
        """Wake every waiter, to check its condition again."""
        while self._wake:
            try:
                wake = self._wake.popleft()
            except IndexError:  # another thread took the last one
                return
            wake()


class _State(Generic[T]):
    """What both sides of a channel share."""

    __slots__ = (
        "buffer",
        "close_callbacks",
        "closed",
        "direct",
        "ended",
        "error",
        "full",
        "items",
        "producers",
        "sent",
        "wake_reader",
    )

    def __init__(self, buffer: int) -> None:
        self.buffer = buffer
        self.items: deque[T] = deque()
        self.sent = 0
        self.full = False
        self.producers = Waiters()
        self.wake_reader: Callable[[], object] | None = None
        self.direct: DirectReceiver[T] | None = None
        self.ended = False
        self.error: BaseException | None = None
        self.closed = False
        self.close_callbacks: dict[object, Callable[[], object]] = {}

    def must_wait(self) -> bool:
        if self.full and len(self.items) <= self.buffer // 2:
            # A reader in another thread took the last item just before the channel became full.
            self.release_producers()
        return self.full and not self.closed

    def release_producers(self) -> None:
        self.full = False
        self.producers.wake_all()

    def end(self, error: BaseException | None) -> None:
        if not self.ended:
            self.error = error
            self.ended = True
            wake = self.wake_reader
            if wake is not None:
                wake()

    def run_close_callbacks(self) -> None:
        while self.close_callbacks:
            _, callback = self.close_callbacks.popitem()
            callback()

    def statistics(self) -> StreamStatistics:
        return StreamStatistics(len(self.items), self.buffer, self.sent, len(self.producers))


def open_channel(
    buffer: int, reader: Callable[[Any], ReceiveChannel[Any]] | None = None
) -> tuple[SendChannel[Any], ReceiveChannel[Any]]:
    """Open a channel, and return its two sides.

    Args:
        buffer: How many items may wait for the reader before producers wait; 0 hands over one by
            one.
        reader: Makes the reader's side of what both sides share.

    Raises:
        ValueError: If ``buffer`` is not a whole number from 0 up.
    """
    if type(buffer) is not int or buffer < 0:
        raise ValueError(f"buffer is a number of chunks, 0 or more; not {buffer!r}")
    state: _State[Any] = _State(buffer)
    return SendChannel(state), (reader or ReceiveChannel)(state)


class SendChannel(Generic[T]):
    """The producers' side of a channel."""

    __slots__ = ("_state",)

    def __init__(self, state: _State[T]) -> None:
        self._state = state

    def send_nowait(self, item: T) -> None:
        """Send an item at once, from any thread. Raises ReaderLeft if the reader has left."""
        state = self._state
        if state.closed:
            raise ReaderLeft
        state.sent += 1
        direct = state.direct
        if direct is not None and not state.items and direct.receive(item):
            return
        state.items.append(item)
        if len(state.items) > state.buffer:
            state.full = True
        wake = state.wake_reader
        if wake is not None:
            wake()

    @property
    def full(self) -> bool:
        """Whether a producer must wait for room before it makes another item."""
        return self._state.must_wait()

    @property
    def waiters(self) -> Waiters:
        """The producers that wait for room."""
        return self._state.producers

    @property
    def closed(self) -> bool:
        """Whether the reader has left."""
        return self._state.closed

    def has_room(self, items: int) -> bool:
        """Whether the channel has room for this many items without being full after them."""
        state = self._state
        return not state.full and not state.closed and len(state.items) + items <= state.buffer

    @property
    def available(self) -> int:
        """How many items may be sent before the channel is full; at least one."""
        return max(1, self._state.buffer + 1 - len(self._state.items))

    async def wait_for_room(self) -> None:
        """Wait until there is room. Raises ReaderLeft if the reader leaves."""
        await self._state.producers.wait(self._state.must_wait)
        if self._state.closed:
            raise ReaderLeft

    def wait_for_room_sync(self) -> None:
        """Block this thread until there is room. Raises ReaderLeft if the reader leaves."""
        self._state.producers.wait_sync(self._state.must_wait)
        if self._state.closed:
            raise ReaderLeft

    def text_writer(
        self, namespace: Namespace, metadata: Metadata, message_id: str
    ) -> TextWriter | None:
        """The reader's writer for the texts of a message; None if it must be sent chunks."""
        direct = self._state.direct
        return None if direct is None else direct.text_writer(namespace, metadata, message_id)

    def add_close_callback(self, key: object, callback: Callable[[], object]) -> None:
        """Call ``callback`` once, in any thread, when the reader leaves."""
        self._state.close_callbacks[key] = callback
        if self._state.closed:
            self._state.run_close_callbacks()

    def remove_close_callback(self, key: object) -> None:
        """Remove the callback with this key."""
        self._state.close_callbacks.pop(key, None)

    def end(self, error: BaseException | None = None) -> None:
        """End the stream; the reader gets ``error`` after every item before it. Later calls do
        nothing.
        """
        self._state.end(error)

    def statistics(self) -> StreamStatistics:
        """A snapshot of the channel."""
        return self._state.statistics()


class ReceiveChannel(Generic[T]):
    """The reader's side of a channel."""

    __slots__ = ("_state",)

    def __init__(self, state: _State[T]) -> None:
        self._state = state

    def receive_nowait(self) -> T:
        """Receive the next item.

        Raises:
            WouldBlock: If there is none yet.
            EndOfStream: At the end; or, once, the error that ended the stream.
        """
        state = self._state
        ended = state.ended  # read first: a last item may arrive between the two checks
        if state.items:
            item = state.items.popleft()
            if state.full and len(state.items) <= state.buffer // 2:
                state.release_producers()
            return item
        if not ended:
            raise WouldBlock
        error, state.error = state.error, None
        if error is not None:
            raise error
        raise EndOfStream

    @property
    def ready(self) -> bool:
        """Whether ``receive_nowait`` has an item, or the end, to give."""
        return bool(self._state.items) or self._state.ended

    async def receive(self) -> T:
        """Wait for the next item; raises what ``receive_nowait`` raises at the end."""
        state = self._state
        while not state.items and not state.ended:
            wakeup = state.wake_reader = _Wakeup()
            try:
                if not state.items and not state.ended:  # one may have come just before
                    await wakeup.future
            finally:
                state.wake_reader = None
        return self.receive_nowait()

    def receive_sync(self) -> T:
        """Block this thread until the next item; raises what ``receive_nowait`` raises at the
        end.
        """
        while True:
            event = threading.Event()
            self._state.wake_reader = event.set
            try:
                return self.receive_nowait()
            except WouldBlock:
                event.wait()
            finally:
                self._state.wake_reader = None

    def attach(self, direct: DirectReceiver[T]) -> None:
        """Let producers hand their items to ``direct``, instead of waking a reader."""
        self._state.direct = direct
        self._state.wake_reader = direct.wake

    def close(self) -> None:
        """Leave. Waiting items are dropped; producers that send more get ReaderLeft."""
        state = self._state
        state.closed = True
        state.items.clear()
        state.end(None)
        state.producers.wake_all()
        state.run_close_callbacks()

    @property
    def closed(self) -> bool:
        """Whether the reader has left."""
        return self._state.closed

    def statistics(self) -> StreamStatistics:
        """A snapshot of the channel."""
        return self._state.statistics()
