"""The sink: where a run puts its chunks, and from where one reader takes them.

It is bounded, and it never drops. ``put`` always succeeds at once; a producer that finds the sink
``full`` afterwards waits for ``room`` (async) or ``wait_room`` (in a thread) before it goes on,
and so stops reading its provider's socket. Producers go on when the reader has taken half of what
waited, so no more than ``buffer`` chunks and one per waiting producer are ever held.

Producers may live in any thread or event loop; the reader in one. No locks: a deque's append and
popleft are atomic, and each side publishes its wish to be woken before it looks once more.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Generic, TypeVar

from tokenweir.types import Metadata, Namespace, StreamStatistics

__all__ = ["Closed", "Empty", "ReaderLeft", "Sink", "Texts"]

T = TypeVar("T")

Texts = Callable[[Namespace, Metadata, str], Callable[[str], bool]]
"""Of a message, by its namespace, metadata and id: what takes its texts without a chunk around.

Each text comes behind a chunk of text of that message, and is to be taken as one more like that. It
says whether it has taken it; if not, the chunk is put.
"""


class Empty(Exception):  # noqa: N818
    """Nothing waits in the sink just now."""


class Closed(Exception):  # noqa: N818
    """The run has ended and every chunk was taken."""


class ReaderLeft(BaseException):
    """Raised in a producer whose reader has gone, so that the model call stops.

    Not an ``Exception``: like cancellation, it must not be taken for a failure of the model by
    ``except Exception`` in a user's node.
    """


class Sink(Generic[T]):
    """A bounded channel with many producers and one reader.

    Args:
        buffer: How many chunks may wait for the reader before producers are held; 0 hands over
            one by one.
    """

    __slots__ = (
        "_aborts",
        "_at_once",
        "_buffer",
        "_closed",
        "_ended",
        "_error",
        "_full",
        "_held",
        "_items",
        "_put",
        "_wake_reader",
        "texts",
    )

    def __init__(self, buffer: int) -> None:
        if type(buffer) is not int or buffer < 0:
            raise ValueError(f"buffer is a number of chunks, 0 or more; not {buffer!r}")
        self._buffer = buffer
        self._items: deque[T] = deque()
        self._held: deque[Callable[[], None]] = deque()
        self._wake_reader: Callable[[], None] | None = None
        self._at_once: Callable[[T], bool] | None = None
        self.texts: Texts | None = None
        self._aborts: dict[object, Callable[[], None]] = {}
        self._put = 0
        self._full = False
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None

    # The producers' side

    def put(self, item: T) -> None:
        """Hand over one chunk, at once and from any thread; ReaderLeft if nobody will read it."""
        if self._closed:
            raise ReaderLeft("the reader of this stream has gone")
        self._put += 1
        if self._at_once is not None and not self._items and self._at_once(item):
            return
        self._items.append(item)
        if len(self._items) > self._buffer:
            self._full = True
        if self._wake_reader is not None:
            self._wake()

    @property
    def full(self) -> bool:
        """Whether a producer should wait for room before it makes more."""
        if self._full and len(self._items) <= self._buffer // 2:
            # A reader in another thread took the last chunk just before the sink was called full.
            self._relieve()
        return self._full

    def takes(self, chunks: int) -> bool:
        """Whether so many chunks may be put without the sink being full after them."""
        return not self._full and not self._closed and len(self._items) + chunks <= self._buffer

    @property
    def free(self) -> int:
        """How many chunks may be put before the sink is full; at least one."""
        return max(1, self._buffer + 1 - len(self._items))

    async def room(self) -> None:
        """Wait until the reader has made room (ReaderLeft if it goes)."""
        loop = asyncio.get_running_loop()
        thread = get_ident()
        while self._must_wait():
            turn = loop.create_future()

            def wake(turn: asyncio.Future[None] = turn) -> None:
                if get_ident() == thread:
                    _resolve(turn)
                elif not loop.is_closed():
                    loop.call_soon_threadsafe(_resolve, turn)

            self._held.append(wake)
            if not self._must_wait():  # the reader may have come by just before
                self._release_all()
            await turn
        if self.closed:
            raise ReaderLeft("the reader of this stream has gone")

    def wait_room(self) -> None:
        """Block this thread until the reader has made room (ReaderLeft if it goes)."""
        while self._must_wait():
            turn = threading.Event()
            self._held.append(turn.set)
            if not self._must_wait():
                self._release_all()
            turn.wait()
        if self.closed:
            raise ReaderLeft("the reader of this stream has gone")

    def on_leave(self, key: object, abort: Callable[[], None]) -> None:
        """Have ``abort`` called, from any thread, when the reader goes; ``done(key)`` undoes it."""
        self._aborts[key] = abort
        if self._closed:
            self._abort_all()

    def done(self, key: object) -> None:
        """Forget the ``abort`` of this key."""
        self._aborts.pop(key, None)

    def finish(self, error: BaseException | None = None) -> None:
        """Say that the run has ended; the reader gets ``error`` after every chunk before it."""
        if not self._ended:
            self._error = error
            self._ended = True
            self._wake()

    # The reader's side

    def get_nowait(self) -> T:
        """Take the next chunk; Empty if there is none yet, Closed or the run's error at its end."""
        ended = self._ended  # read first: a last chunk may come between the two looks
        if self._items:
            item = self._items.popleft()
            if self._full and len(self._items) <= self._buffer // 2:
                self._relieve()
            return item
        if not ended:
            raise Empty
        error, self._error = self._error, None
        if error is not None:
            raise error
        raise Closed

    @property
    def ready(self) -> bool:
        """Whether the reader need not wait."""
        return bool(self._items) or self._ended

    async def get(self) -> T:
        """Wait for the next chunk; Closed or the run's error at its end."""
        loop = asyncio.get_running_loop()
        thread = get_ident()
        while not self.ready:
            turn = loop.create_future()

            def wake(turn: asyncio.Future[None] = turn) -> None:
                if get_ident() == thread:
                    _resolve(turn)
                elif not loop.is_closed():
                    loop.call_soon_threadsafe(_resolve, turn)

            self._wake_reader = wake
            try:
                if not self.ready:  # a producer may have come by just before
                    await turn
            finally:
                self._wake_reader = None
        return self.get_nowait()

    def get_blocking(self) -> T:
        """Block this thread until the next chunk; Closed or the run's error at its end."""
        while True:
            turn = threading.Event()
            self._wake_reader = turn.set
            try:
                return self.get_nowait()
            except Empty:
                turn.wait()
            finally:
                self._wake_reader = None

    def on_ready(
        self,
        take: Callable[[], None],
        at_once: Callable[[T], bool] | None = None,
        texts: Texts | None = None,
    ) -> None:
        """Have ``take`` called whenever there is something for the reader, instead of waiting.

        It is called by who puts, in whatever thread that is, once for each chunk and for the end;
        it may take them at once by ``get_nowait``. While none waits, a chunk is offered to
        ``at_once`` first, which says whether it has taken it. With ``texts`` producers may leave
        out the chunks of plain text.
        """
        self._wake_reader = take
        self._at_once = at_once
        self.texts = texts

    def close(self) -> None:
        """The reader goes: what waits is dropped, and whoever puts more is stopped."""
        self._closed = True
        self._items.clear()
        self.finish()
        self._release_all()
        self._abort_all()

    @property
    def closed(self) -> bool:
        """Whether the reader has gone."""
        return self._closed

    def statistics(self) -> StreamStatistics:
        """How the sink stands just now."""
        return StreamStatistics(len(self._items), self._buffer, self._put, len(self._held))

    # Waking

    def _must_wait(self) -> bool:
        return self.full and not self._closed

    def _wake(self) -> None:
        wake = self._wake_reader
        if wake is not None:
            wake()

    def _relieve(self) -> None:
        self._full = False
        self._release_all()

    def _release_all(self) -> None:
        while self._held:
            try:
                wake = self._held.popleft()
            except IndexError:  # another thread was quicker
                return
            wake()

    def _abort_all(self) -> None:
        while self._aborts:
            _, abort = self._aborts.popitem()
            abort()


def _resolve(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
