"""Byte sources: the body of a streamed response, as it arrives.

``receive`` waits for the next bytes. Over aiohttp, ``push`` passes bytes on as they arrive, without
waking a task for them (``push.py``).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, ClassVar
from weakref import WeakSet

import httpx2

from tokenweir.models._openai.aiohttp_transport import AiohttpBody, body_of
from tokenweir.models._openai.push import can_push, push_into

__all__ = [
    "MAX_DELAY",
    "AiohttpSource",
    "CoalescingSource",
    "ResponseSource",
    "SyncSource",
    "open_source",
]

_DRAIN = 0.1
"""Seconds that a server has to end its response after ``[DONE]`` or its like."""

MAX_DELAY = 0.25
"""The longest time in seconds without a read of a coalesced connection."""

_MAX_SHARE = 0.15
"""A coalesced call may finish at most 15 % later than an uncoalesced one."""

_MIN_EVENTS = 2
"""The fewest events expected in a pause that make it worthwhile."""

_MIN_CALLS = 16
"""Coalescing begins with this many concurrent calls: then their cost matters more than the latency
of one."""


def open_source(response: Any, *, coalesce: bool) -> ResponseSource:
    """The byte source of a response of the openai SDK; it closes the response.

    Args:
        response: A response whose body has no other reader.
        coalesce: Whether bytes may be passed on up to ``MAX_DELAY`` seconds late, because no
            reader watches this call.
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
        """Pass bytes to ``feed`` as they arrive, until it returns False or the body ends.

        Bytes that arrive after a False wait in the source. ``feed`` is called in the event loop,
        and must not raise. Call this only if ``can_push`` is true.
        """
        raise NotImplementedError

    async def drain(self) -> None:
        """Read to the end of the body, so that the connection can be reused."""
        with suppress(asyncio.TimeoutError, httpx2.HTTPError):
            await asyncio.wait_for(self._read_to_end(), _DRAIN)

    async def _read_to_end(self) -> None:
        while await self.receive():
            pass

    async def aclose(self) -> None:
        """Close the response."""
        await self._response.aclose()


class AiohttpSource(ResponseSource):
    """The body of a response over aiohttp, bypassing the layers in between."""

    def __init__(self, response: Any, body: AiohttpBody) -> None:
        self._response = response
        self._body = body

    @property
    def can_push(self) -> bool:
        return can_push(self._body.reader)

    async def receive(self) -> bytes:
        return await self._body.receive()

    async def push(self, feed: Callable[[bytes], bool]) -> None:
        if (waiting := self._body.receive_nowait()) and not feed(waiting):
            return
        await push_into(self._body.reader, feed)

    async def drain(self) -> None:
        if not self._body.reader.at_eof():
            await super().drain()


class CoalescingSource(AiohttpSource):
    """The body of a call without a watching reader, read several events at a time.

    Waking up for each event is most of its cost. With many such calls, the connection of a long
    answer is repeatedly left unread for a while, and its bytes wait in the operating system's
    buffers. With few such calls, each is read at once.
    """

    _all: ClassVar[WeakSet[CoalescingSource]] = WeakSet()
    """The open ones, in all event loops."""

    def __init__(self, response: Any, body: AiohttpBody) -> None:
        super().__init__(response, body)
        timeouts = response.request.extensions.get("timeout") or {}
        # A client with its own read timeout would take the pause for the server's silence.
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
        """Wait for the end of the body, but at most this many seconds."""
        # Not asyncio.wait_for, which can swallow a cancellation before Python 3.12.
        ending = asyncio.ensure_future(self._body.reader.wait_eof())
        try:
            await asyncio.wait([ending], timeout=seconds)
        finally:
            if ending.done() and not ending.cancelled():
                ending.exception()  # it is raised when the body is read
            ending.cancel()

    async def _receive_after(self, seconds: float, transport: asyncio.Transport) -> bytes:
        """Wait this many seconds, then read the connection once."""

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
        # A watchdog limits the wait for tokens; the client would limit the wait for bytes.
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
