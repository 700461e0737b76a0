"""Passes the bytes of a body on as they arrive over aiohttp, without waking a task for them.

Private names used: aiohttp's parser delivers a body through ``feed_data`` and
``end_http_chunk_receiving`` of a ``StreamReader``, which stores the future of a waiting task as
``_waiter``. At the end it removes the waiter and calls its ``set_result`` or ``set_exception``,
unless it is ``done()``. Its ``_cursor`` counts the bytes that were read. The class of an instance
can be changed to a subclass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp

from tokenweir.streaming.probing import probing

__all__ = ["can_push", "probe_push", "push_into"]


def can_push(reader: aiohttp.StreamReader) -> bool:
    """Whether the bytes that a reader gets may be passed on as they arrive."""
    body: Any = reader
    return (
        type(body) in (aiohttp.StreamReader, _PushBody)
        and probe_push() is None
        and body._waiter is None
        and not body.is_eof()
        and body.exception() is None
    )


async def push_into(reader: aiohttp.StreamReader, feed: Callable[[bytes], bool]) -> None:
    """Pass the bytes that a reader gets to ``feed``, as ``ResponseSource.push`` describes."""
    pushing = _Push(reader, feed)
    try:
        await pushing.over
    finally:
        pushing.stop()


@probing(
    "this aiohttp differs from those that Tokenweir knows (%s): tokens are the same, but take the "
    "slow path"
)
async def probe_push() -> str | None:
    """None if bytes may be taken from aiohttp as they arrive; otherwise the reason why not."""
    loop = asyncio.get_running_loop()
    protocol: Any = _Protocol()
    whole, broken = (aiohttp.StreamReader(protocol, 2**16, loop=loop) for _ in range(2))
    taken: list[bytes] = []

    def feed(data: bytes) -> bool:
        taken.append(data)
        return data != b"stop"

    async def pushed(reader: aiohttp.StreamReader, arrive: Callable[[], None]) -> None:
        pushing = loop.create_task(push_into(reader, feed))
        await asyncio.sleep(0)
        try:
            arrive()
        finally:
            await asyncio.wait_for(pushing, 1)

    def chunks() -> None:
        for data in (b"a", b"stop", b"b"):
            whole.begin_http_chunk_receiving()
            whole.feed_data(data)
            whole.end_http_chunk_receiving()

    await pushed(whole, chunks)
    if (taken, whole.read_nowait()) != ([b"a", b"stop"], b"b"):
        return "aiohttp passes on other bytes"
    await pushed(whole, whole.feed_eof)
    await pushed(broken, lambda: broken.set_exception(aiohttp.ClientPayloadError()))
    return None if whole.at_eof() and broken.exception() else "aiohttp ends a body differently"


class _Push:
    """Replaces the future of a task that waits for bytes in aiohttp's reader.

    Attributes:
        feed: Takes the bytes.
        over: Resolved when ``feed`` has returned False, or the body has ended or failed.
    """

    __slots__ = ("_body", "feed", "over")

    def __init__(self, body: Any, feed: Callable[[bytes], bool]) -> None:
        self._body = body
        self.feed = feed
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        body.__class__ = _PushBody
        body._waiter = self

    def stop(self) -> None:
        """From now on, leave arriving bytes in the body."""
        if self._body._waiter is self:
            self._body._waiter = None
        self.set_result(None)

    # The methods that aiohttp calls on a future

    def done(self) -> bool:
        return False

    def set_result(self, result: None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def set_exception(self, error: BaseException) -> None:
        self.set_result(None)  # the next ``receive`` raises it


class _PushBody(aiohttp.StreamReader):
    """A body whose bytes go to a ``_Push``, bypassing its buffer and the ends of HTTP chunks."""

    __slots__ = ()
    _waiter: Any

    def feed_data(self, data: bytes, *size: int) -> Any:
        push = self._waiter
        if type(push) is not _Push:
            return super().feed_data(data, *size)
        # Not through the reader's own methods: they resume the parser, which is running now.
        self.total_bytes += len(data)
        self._cursor += len(data)
        if data and not push.feed(data):
            push.stop()
        return False

    def end_http_chunk_receiving(self) -> None:
        if type(self._waiter) is not _Push:
            super().end_http_chunk_receiving()


class _Protocol:
    """A stand-in for the connection of a body."""

    connected = True

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None
