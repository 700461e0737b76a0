"""Byte sources: the body of a streamed response, as it arrives.

``receive`` waits for the next bytes. Over aiohttp, ``push`` hands bytes on as they arrive, without
waking a task for them.

Private names used: aiohttp's parser hands a body on by ``feed_data`` and
``end_http_chunk_receiving`` of a ``StreamReader``, which keeps who waits for bytes as ``_waiter``.
At the end it takes that off and calls its ``set_result`` or ``set_exception``, unless it is
``done()``. Its ``_cursor`` counts the bytes that were read. An instance can be made one of a
subclass.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, ClassVar
from weakref import WeakSet

import aiohttp
import httpx2

from tokenweir.models._openai.aiohttp_transport import AiohttpBody, body_of
from tokenweir.models._openai.probe import probe_push

__all__ = [
    "MAX_DELAY",
    "AiohttpSource",
    "CoalescingSource",
    "ResponseSource",
    "SyncSource",
    "open_source",
    "push_into",
]

_DRAIN = 0.1
"""Seconds that a server has to end its response, once it has said that it is done."""

MAX_DELAY = 0.25
"""Seconds after which a coalesced connection is read, at the latest."""

_MAX_SHARE = 0.15
"""A coalesced call may finish at most 15 % later than an uncoalesced one."""

_MIN_EVENTS = 2
"""Events that must be expected in a pause; for fewer it does not pay."""

_MIN_CALLS = 16
"""Coalescing begins with so many calls at once: then their cost matters more than how soon one of
them ends."""


def open_source(response: Any, *, coalesce: bool) -> ResponseSource:
    """The byte source of a response of the openai SDK; it closes the response.

    Args:
        response: Whose body nobody else reads.
        coalesce: Whether bytes may be handed on up to ``MAX_DELAY`` seconds after they came,
            because nobody watches this call.
    """
    body = body_of(response)
    if body is None:
        return ResponseSource(response)
    return (CoalescingSource if coalesce else AiohttpSource)(response, body)


class ResponseSource:
    """The body of any response of the openai SDK's async client."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._parts: AsyncIterator[bytes] = response.aiter_bytes()

    @property
    def can_push(self) -> bool:
        """Whether ``push`` may be called now."""
        return False

    async def receive(self) -> bytes:
        """Wait for the next bytes; empty at the end of the body."""
        return await anext(self._parts, b"")

    async def push(self, feed: Callable[[bytes], bool]) -> None:
        """Hand bytes to ``feed`` as they arrive, until it returns False or the body ends.

        Bytes that come after a False wait in the source. ``feed`` is called in the event loop, and
        must not raise. Only where ``can_push``.
        """
        raise NotImplementedError

    async def drain(self) -> None:
        """Read to the end of the body: only then the connection can carry the next call."""
        with suppress(asyncio.TimeoutError, httpx2.HTTPError):
            await asyncio.wait_for(self._read_to_end(), _DRAIN)

    async def _read_to_end(self) -> None:
        while await self.receive():
            pass

    async def aclose(self) -> None:
        """Close the response."""
        await self._response.aclose()


class AiohttpSource(ResponseSource):
    """The body of a response over aiohttp, past the layers that lie between."""

    def __init__(self, response: Any, body: AiohttpBody) -> None:
        self._response = response
        self._body = body

    @property
    def can_push(self) -> bool:
        body: Any = self._body.reader
        return (
            type(body) in (aiohttp.StreamReader, _PushBody)
            and probe_push() is None
            and body._waiter is None
            and not body.is_eof()
            and body.exception() is None
        )

    async def receive(self) -> bytes:
        return await self._body.receive()

    async def push(self, feed: Callable[[bytes], bool]) -> None:
        if (waiting := self._body.receive_nowait()) and not feed(waiting):
            return
        await push_into(self._body.reader, feed)

    async def drain(self) -> None:
        if not self._body.reader.at_eof():
            await super().drain()


async def push_into(reader: aiohttp.StreamReader, feed: Callable[[bytes], bool]) -> None:
    """Hand the bytes that a reader gets to ``feed``; ``ResponseSource.push`` says until when."""
    pushing = _Push(reader, feed)
    try:
        await pushing.over
    finally:
        pushing.stop()


class _Push:
    """Stands where aiohttp keeps the future of a task that waits for bytes.

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
        """Let the bytes that come now wait in the body."""
        if self._body._waiter is self:
            self._body._waiter = None
        self.set_result(None)

    # What aiohttp asks of a future

    def done(self) -> bool:
        return False

    def set_result(self, result: None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def set_exception(self, error: BaseException) -> None:
        self.set_result(None)  # the next ``receive`` raises it


class _PushBody(aiohttp.StreamReader):
    """A body whose bytes go to a ``_Push``, past its buffer and the ends of HTTP chunks."""

    __slots__ = ()
    _waiter: Any

    def feed_data(self, data: bytes, *size: int) -> Any:
        push = self._waiter
        if type(push) is not _Push:
            return super().feed_data(data, *size)
        # Not read by the reader's own methods: these resume the parser, which is running just now.
        self.total_bytes += len(data)
        self._cursor += len(data)
        if data and not push.feed(data):
            push.stop()
        return False

    def end_http_chunk_receiving(self) -> None:
        if type(self._waiter) is not _Push:
            super().end_http_chunk_receiving()


class CoalescingSource(AiohttpSource):
    """The body of a call that nobody watches, read several events at a time.

    Waking up for each event is most of its cost. Where there are many such calls, a long answer's
    connection is not even read for a while, again and again; what comes waits in the operating
    system's buffers. One call among few is read at once.
    """

    _all: ClassVar[WeakSet[CoalescingSource]] = WeakSet()
    """Those that are read, in all event loops."""

    def __init__(self, response: Any, body: AiohttpBody) -> None:
        super().__init__(response, body)
        timeouts = response.request.extensions.get("timeout") or {}
        # A client that itself waits for bytes would take the silence for the server's.
        self._may_pause = timeouts.get("read") is None
        self._began: float | None = None
        self._events = 0
        self.ending = False
        """Whether the answer is over, so that the end of the body is near."""

    @property
    def can_push(self) -> bool:
        return False

    async def receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = loop.time()
            self._all.add(self)
        while not self._body.reader.at_eof():
            taken = loop.time() - self._began
            pause = min(taken * _MAX_SHARE, MAX_DELAY)
            pays = len(self._all) >= _MIN_CALLS and self._events * pause >= _MIN_EVENTS * taken
            transport = None
            if pays and self._may_pause and not self.ending:
                transport = self._body.transport
            if transport is not None:
                data = await self._receive_after(pause, transport)
            else:
                await self._wait_for_end(MAX_DELAY)
                data = self._body.receive_nowait()
            if data:
                self._events += data.count(b"\n\n")
                return data
        return b""

    async def _wait_for_end(self, seconds: float) -> None:
        """Wait for the end of the body, or so many seconds."""
        # Not asyncio.wait_for, which can swallow a cancellation before Python 3.12.
        ending = asyncio.ensure_future(self._body.reader.wait_eof())
        try:
            await asyncio.wait([ending], timeout=seconds)
        finally:
            if ending.done() and not ending.cancelled():
                ending.exception()  # it is the body's, and raised when that is read
            ending.cancel()

    async def _receive_after(self, seconds: float, transport: asyncio.Transport) -> bytes:
        """What has come after so many seconds, in one read of the connection."""

        def resume() -> None:
            if not transport.is_closing():
                transport.resume_reading()

        transport.pause_reading()
        timer = asyncio.get_running_loop().call_later(seconds, resume, context=Context())
        try:
            return await self._body.receive()
        finally:
            timer.cancel()
            resume()

    async def aclose(self) -> None:
        self._all.discard(self)
        await super().aclose()


class SyncSource:
    """The body of a response of the openai SDK's sync client."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._parts = response.iter_bytes()
        # A watchdog waits, by tokens; the client would wait by bytes.
        if timeouts := response.request.extensions.get("timeout"):
            timeouts["read"] = None

    def receive(self) -> bytes:
        """Block until the next bytes; empty at the end of the body."""
        return next(self._parts, b"")

    def abort(self) -> None:
        """Shut the socket down, from any thread: ``receive`` ends at once."""
        stream = self._response.extensions.get("network_stream")
        raw = stream.get_extra_info("socket") if stream is not None else None
        if raw is not None:
            with suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the response."""
        self._response.close()
