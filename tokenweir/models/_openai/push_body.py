"""The bytes of an aiohttp response as they arrive, without waking a task for them.

Private names used: the openai SDK's response over aiohttp keeps aiohttp's own in
``stream._stream._aiohttp_response``. aiohttp's parser hands a body on by ``feed_data`` and
``end_http_chunk_receiving`` of a ``StreamReader``, which keeps who waits for bytes as ``_waiter``.
At the end it takes that off and calls its ``set_result`` or ``set_exception``, unless it is
``done()``. Its ``_cursor`` counts the bytes that were read. An instance can be made one of a
subclass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp

__all__ = ["Arrivals", "aiohttp_body", "aiohttp_transport"]


def aiohttp_body(response: Any) -> aiohttp.StreamReader | None:
    """The body of a response as aiohttp reads it; None if it came another way."""
    body = getattr(_aiohttps(response), "content", None)
    return body if isinstance(body, aiohttp.StreamReader) else None


def aiohttp_transport(response: Any) -> asyncio.Transport | None:
    """The connection of a response that is still coming over aiohttp; None if there is none."""
    connection = getattr(_aiohttps(response), "connection", None)
    transport = None if connection is None else connection.transport
    return None if transport is None or transport.is_closing() else transport


class Arrivals:
    """Gives the bytes of a body away as they arrive, and wakes no task for them.

    It stands where aiohttp keeps the future of a task that waits for bytes.

    Args:
        body: Which nobody else reads meanwhile.
        take: Called in the event loop with the next bytes; when it says False, what comes after
            them waits in the body as ever. It must not raise.
        over: Called when the body has ended or failed.
    """

    __slots__ = ("_body", "_over", "take")

    def __init__(
        self, body: aiohttp.StreamReader, take: Callable[[bytes], bool], over: Callable[[], None]
    ) -> None:
        self._body: Any = body
        self._over = over
        self.take = take

    @staticmethod
    def possible(body: aiohttp.StreamReader) -> bool:
        """Whether this aiohttp has the insides for it, and nobody reads."""
        return type(body) in (aiohttp.StreamReader, _GivenAway) and (
            getattr(body, "_waiter", body) is None and hasattr(body, "_cursor")
        )

    def start(self) -> None:
        """Begin; only when all that has come was read."""
        self._body.__class__ = _GivenAway
        self._body._waiter = self

    def stop(self) -> None:
        """Let what comes wait in the body."""
        if self._body._waiter is self:
            self._body._waiter = None

    # What aiohttp asks of a future

    def done(self) -> bool:
        return False

    def set_result(self, result: None) -> None:
        self._over()

    def set_exception(self, error: BaseException) -> None:
        self._over()


class _GivenAway(aiohttp.StreamReader):
    """A body whose bytes ``Arrivals`` may give away: past its buffer, and the ends of HTTP chunks.

    Not read by the reader's own methods at this moment: those have the parser go on, in which we
    are.
    """

    __slots__ = ()
    _waiter: Any

    def feed_data(self, data: bytes, *size: int) -> Any:
        arrivals = self._waiter
        if type(arrivals) is not Arrivals:
            return super().feed_data(data, *size)
        self.total_bytes += len(data)
        self._cursor += len(data)
        if data and not arrivals.take(data):
            arrivals.stop()
        return False

    def end_http_chunk_receiving(self) -> None:
        if type(self._waiter) is not Arrivals:
            super().end_http_chunk_receiving()


def _aiohttps(response: Any) -> Any:
    return getattr(getattr(response.stream, "_stream", None), "_aiohttp_response", None)
