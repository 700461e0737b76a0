"""A provider's response as batches of events: the openai SDK's streams, read by the bytes.

The SDK makes the request and the response; these take the place of its ``Stream`` classes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import httpx2
import openai

from tokenweir.nodes.events import Batch, EventError, read_events
from tokenweir.streaming.sse import EventDecoder

__all__ = ["AsyncBatches", "Batches"]

_DRAIN = 0.1
"""Seconds that a server has to end its response, once it has said that it is done."""


class AsyncBatches(openai.AsyncStream[Batch]):
    """A response's events, as they arrive together."""

    def __init__(self, *, response: Any, **kwargs: Any) -> None:
        self.response = response
        self._events = self._read()

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self._events

    async def __anext__(self) -> Batch:
        return await self._events.__anext__()

    async def _read(self) -> AsyncIterator[Batch]:
        response = self.response
        decoder = EventDecoder()
        stream: Any = response.aiter_bytes() if _encoded(response) else response.stream
        received = aiter(stream)
        try:
            async for data in received:
                events = decoder.feed(data)
                if not events:
                    continue
                batch = read_events(events)
                yield batch
                if batch.error is not None:
                    raise _raised(batch.error, response)
                if batch.done:
                    # A response that was read to its end leaves its connection for the next call.
                    with suppress(asyncio.TimeoutError, httpx2.HTTPError):
                        await asyncio.wait_for(_read_on(received), _DRAIN)
                    return
        except httpx2.TimeoutException as error:
            raise openai.APITimeoutError(request=response.request) from error
        except httpx2.RequestError as error:
            raise openai.APIConnectionError(request=response.request) from error
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close the response."""
        await self.response.aclose()


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
