"""A provider's response as batches of events: the openai SDK's streams, read by the bytes.

The SDK makes the request and the response; these take the place of its ``Stream`` classes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from contextvars import Context
from typing import Any, ClassVar
from weakref import WeakSet

import aiohttp
import httpx2
import openai

from tokenweir.models._openai import push_body
from tokenweir.models._openai.parser import Batch, EventError, read_events
from tokenweir.streaming.sse import EventDecoder

__all__ = ["AsyncBatches", "Batches", "QuietBatches"]

_DRAIN = 0.1
"""Seconds that a server has to end its response, once it has said that it is done."""


_LONGEST = 0.25
"""Seconds after which a call that nobody watches is looked at, at the latest."""

_SHARE = 0.15
"""The part of the time that such a call has taken by which it may end later than it would."""

_WORTH = 2
"""Events that must be expected meanwhile for not reading a connection to pay."""

_MANY = 16
"""So many such calls at once make their cost matter more than how soon one of them ends."""


class AsyncBatches(openai.AsyncStream[Batch]):
    """A response's events, as they arrive together.

    Attributes:
        late: Seconds by which events may be handed on after they came.
    """

    late = 0.0

    def __init__(self, *, response: Any, **kwargs: Any) -> None:
        self.response = response
        self._ending = False
        self._take: Callable[[Batch], bool] | None = None
        self._events = self._read()

    def push(self, take: Callable[[Batch], bool]) -> None:
        """Have ``take`` called with batches as they arrive, where that is possible.

        Without a turn of the task that iterates: it sleeps until there is a batch that is not
        plain, or that ``take`` says it has not taken; such a batch comes by iteration.
        """
        self._take = take

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self._events

    async def __anext__(self) -> Batch:
        return await self._events.__anext__()

    async def _read(self) -> AsyncIterator[Batch]:
        response = self.response
        received = aiter(self._received())
        try:
            async for batch in self._batches(received):
                self._ending = self._ending or batch.ended
                yield batch
                if batch.error is not None:
                    raise _raised(batch.error, response)
                if batch.done:
                    await self._drain(received)
                    return
        except (httpx2.TimeoutException, aiohttp.ServerTimeoutError) as error:
            raise openai.APITimeoutError(request=response.request) from error
        except (httpx2.RequestError, aiohttp.ClientError) as error:
            raise openai.APIConnectionError(request=response.request) from error
        finally:
            await response.aclose()

    async def _batches(self, received: AsyncIterator[bytes]) -> AsyncIterator[Batch]:
        decoder = EventDecoder()
        async for data in received:
            if events := decoder.feed(data):
                yield read_events(events)
            while self._take is not None and (batch := await self._refused(decoder)) is not None:
                yield batch

    async def _refused(self, decoder: EventDecoder) -> Batch | None:
        """Push batches until there is one to iterate; None if bytes must be read for the next."""
        body, take = push_body.aiohttp_body(self.response), self._take
        if take is None or body is None or _encoded(self.response):
            return None
        if not push_body.Arrivals.possible(body):
            return None
        refused: asyncio.Future[Batch | None] = asyncio.get_running_loop().create_future()

        def arrived(data: bytes) -> bool:
            if refused.done():  # cancelled
                return False
            try:
                events = decoder.feed(data)
                batch = read_events(events) if events else None
                if batch is None or (batch.plain and batch.chunks and take(batch)):
                    return True
                refused.set_result(batch)
            except Exception as error:  # noqa: BLE001 - it is the call's, not the connection's
                refused.set_exception(error)
            return False

        def over() -> None:
            if not refused.done():
                refused.set_result(None)

        while body.exception() is None and (data := body.read_nowait()):
            if not arrived(data):
                return await refused
        if body.is_eof() or body.exception() is not None:
            return None
        arrivals = push_body.Arrivals(body, arrived, over)
        arrivals.start()
        try:
            return await refused
        finally:
            arrivals.stop()

    def _received(self) -> Any:
        response = self.response
        if _encoded(response):
            return response.aiter_bytes()
        body = push_body.aiohttp_body(response)
        return response.stream if body is None else self._pieces(body)

    async def _pieces(self, body: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        """The bytes as they arrive, past the layers that lie between."""
        while data := await body.readany():
            yield data

    async def _drain(self, received: AsyncIterator[bytes]) -> None:
        """Read to the end: only then can the connection be used for the next call."""
        body = push_body.aiohttp_body(self.response)
        if body is not None and body.at_eof():
            return
        with suppress(asyncio.TimeoutError, httpx2.HTTPError, aiohttp.ClientError):
            await asyncio.wait_for(_read_on(received), _DRAIN)

    async def close(self) -> None:
        """Close the response."""
        await self.response.aclose()


class QuietBatches(AsyncBatches):
    """The events of a call that nobody watches, several at a time.

    Waking up for each of them is most of what they cost. Where there are many such calls, a long
    answer's connection is not even read for a while, again and again; what comes waits in the
    operating system's buffers. How long is bounded by how late the end of the answer may be
    noticed. The end of one call among few is noticed at once.
    """

    late = _LONGEST
    _all: ClassVar[WeakSet[QuietBatches]] = WeakSet()
    """Those being read, in all event loops."""

    async def _pieces(self, body: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        timeouts = self.response.request.extensions.get("timeout") or {}
        # A client that waits for bytes by itself would take such a silence for the server's.
        may_pause = timeouts.get("read") is None
        begun, events = loop.time(), 0
        self._all.add(self)
        try:
            while not body.at_eof():
                taken = loop.time() - begun
                wait = min(taken * _SHARE, _LONGEST)
                transport = None
                worth = len(self._all) >= _MANY and events * wait >= _WORTH * taken
                if may_pause and worth and not self._ending:
                    transport = push_body.aiohttp_transport(self.response)
                if transport is not None:
                    data = await _read_after(wait, body, transport)
                else:
                    with suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(body.wait_eof(), _LONGEST)
                    data = body.read_nowait()
                if data:
                    events += data.count(b"\n\n")
                    yield data
        finally:
            self._all.discard(self)


async def _read_after(seconds: float, body: aiohttp.StreamReader, transport: Any) -> bytes:
    """What has come after so many seconds, in one read of the connection."""

    def go_on() -> None:
        if not transport.is_closing():
            transport.resume_reading()

    transport.pause_reading()
    timer = asyncio.get_running_loop().call_later(seconds, go_on, context=Context())
    try:
        return await body.readany()
    finally:
        timer.cancel()
        go_on()


async def _read_on(received: AsyncIterator[bytes]) -> None:
    async for _ in received:
        pass


class Batches(openai.Stream[Batch]):
    """As ``AsyncBatches``, for sync clients."""

    def __init__(self, *, response: Any, **kwargs: Any) -> None:
        self.response = response
        self._events = self._read()

    def __iter__(self) -> Iterator[Batch]:
        return self._events

    def __next__(self) -> Batch:
        return next(self._events)

    def _read(self) -> Iterator[Batch]:
        response = self.response
        decoder = EventDecoder()
        try:
            received: Any = response.iter_bytes() if _encoded(response) else response.stream
            for data in received:
                events = decoder.feed(data)
                if not events:
                    continue
                batch = read_events(events)
                yield batch
                if batch.error is not None:
                    raise _raised(batch.error, response)
                if batch.done:
                    return
        except httpx2.TimeoutException as error:
            raise openai.APITimeoutError(request=response.request) from error
        except httpx2.RequestError as error:
            raise openai.APIConnectionError(request=response.request) from error
        finally:
            response.close()


def _encoded(response: Any) -> bool:
    return bool(response.headers.get("content-encoding", "identity") != "identity")


def _raised(error: Exception, response: Any) -> Exception:
    if isinstance(error, EventError):
        return openai.APIError(error.message, request=response.request, body=error.body)
    return error
