"""The streams that ``astream``, ``stream``, ``lanes`` and ``Meter.watch`` return.

A stream reads a channel, which a task or a thread fills, starting with the first read.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from tokenweir.streaming.any_stream import close_stream
from tokenweir.streaming.channel import EndOfStream, ReceiveChannel
from tokenweir.types import StreamStatistics

__all__ = ["ChannelStream", "Producer", "SyncTokenStream", "ThreadStream", "TokenStream"]

T = TypeVar("T")


class TokenStream(AsyncIterator[T]):
    """A stream that one reader reads once. Made by ``astream``, ``lanes`` and ``Meter.watch``.

    It starts at the first read. ``async with`` and ``aclose()`` close it; so do its end, an error,
    the reader's cancellation, and dropping the last reference to it (``break`` out of an
    ``async for`` over it).
    """

    def __aiter__(self) -> TokenStream[T]:
        return self

    async def __aenter__(self) -> TokenStream[T]:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    @abstractmethod
    async def aclose(self) -> None:
        """Stop what feeds the stream, and wait until all that it had open is closed."""

    @abstractmethod
    def statistics(self) -> StreamStatistics:
        """How many chunks wait for the reader, and how many producers it holds back."""


class SyncTokenStream(Iterator[T]):
    """A stream that one reader reads once. Made by ``stream`` and ``Meter.watch``.

    Like ``TokenStream``, with ``with`` and ``close()``.
    """

    def __iter__(self) -> SyncTokenStream[T]:
        return self

    def __enter__(self) -> SyncTokenStream[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Stop what feeds the stream, and wait until all that it had open is closed."""

    @abstractmethod
    def statistics(self) -> StreamStatistics:
        """How many chunks wait for the reader, and how many producers it holds back."""


def _nothing(stacklevel: int) -> None:
    pass


class ChannelStream(TokenStream[T]):
    """Reads a channel that a task fills.

    Args:
        channel: The channel.
        producer: Its task, which may fill channels of other streams, too.
        at_end: Called at the end with the stack level of the reader, for warnings.
    """

    def __init__(
        self,
        channel: ReceiveChannel[T],
        producer: Producer,
        at_end: Callable[[int], None] = _nothing,
    ) -> None:
        self._channel = channel
        self._producer = producer
        self._at_end = at_end
        self._reading = False
        self._over = False
        producer.channels.append(channel)

    async def __anext__(self) -> T:
        if self._over:
            raise StopAsyncIteration
        if self._reading:
            raise RuntimeError("this stream is being read by another task; use lanes() to share it")
        if self._producer.task is None:
            self._producer.start()
        self._reading = True
        try:
            if self._channel.ready:
                return self._channel.receive_nowait()
            return await self._channel.receive()
        except EndOfStream:
            self._over = True
            self._at_end(2)
            raise StopAsyncIteration from None
        except asyncio.CancelledError:
            await self.aclose()
            raise
        except BaseException:
            self._over = True
            raise
        finally:
            self._reading = False

    async def aclose(self) -> None:
        self._over = True
        self._channel.close()
        await self._producer.leave()

    def statistics(self) -> StreamStatistics:
        return self._channel.statistics()

    def __del__(self) -> None:
        self._channel.close()
        self._producer.leave_soon()


class Producer:
    """A task that fills channels. It starts with their first reader, and ends with their last.

    Args:
        fill: Fills the channels, and closes everything it has opened.
        source: The stream that the task closes; closed here if the task was never started.
    """

    def __init__(self, fill: Callable[[], Coroutine[Any, Any, None]], source: Any = None) -> None:
        self._fill = fill
        self._source = source
        self.channels: list[ReceiveChannel[Any]] = []
        self.task: asyncio.Task[None] | None = None
        self._told = False
        """Whether the task has been cancelled. Cancelling it again would interrupt its clean-up:
        anyio's cancelled scopes, such as those of Starlette's responses, cancel the task that waits
        here again and again."""

    def start(self) -> None:
        """Start the task."""
        self.task = asyncio.get_running_loop().create_task(self._fill())

    async def leave(self) -> None:
        """End the task if none of its channels is read any longer."""
        if not all(channel.closed for channel in self.channels):
            return
        if self.task is None:
            await close_stream(self._source)
        elif not self.task.done():
            self._end(self.task)
            await asyncio.wait([self.task])

    def leave_soon(self) -> None:
        """Like ``leave``, without waiting. The garbage collector calls this in any thread."""
        task = self.task
        if task is None or task.done() or not all(channel.closed for channel in self.channels):
            return
        loop = task.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._end, task)

    def _end(self, task: asyncio.Task[None]) -> None:
        if not self._told:
            self._told = True
            task.cancel()


class ThreadStream(SyncTokenStream[T]):
    """Reads a channel that a thread fills.

    Args:
        channel: The channel.
        fill: Fills the channel; runs in the thread, in the context of the first read.
        at_end: As for ``ChannelStream``.
    """

    _GRACE = 5.0
    """Seconds that ``close`` waits for a node in a blocking call that Tokenweir cannot stop."""

    def __init__(
        self,
        channel: ReceiveChannel[T],
        fill: Callable[[], None],
        at_end: Callable[[int], None] = _nothing,
    ) -> None:
        self._channel = channel
        self._fill = fill
        self._at_end = at_end
        self._thread: threading.Thread | None = None
        self._over = False

    def __next__(self) -> T:
        if self._over:
            raise StopIteration
        if self._thread is None:
            run = contextvars.copy_context().run
            self._thread = threading.Thread(
                target=run, args=(self._fill,), name="tokenweir-run", daemon=True
            )
            self._thread.start()
        try:
            return self._channel.receive_sync()
        except EndOfStream:
            self._over = True
            self._at_end(2)
            raise StopIteration from None
        except BaseException:
            self._over = True
            self._channel.close()
            raise

    def close(self) -> None:
        self._over = True
        self._channel.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._GRACE)

    def statistics(self) -> StreamStatistics:
        return self._channel.statistics()

    def __del__(self) -> None:
        self._channel.close()
