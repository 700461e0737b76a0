"""A response that streams: written as it comes, kept alive by comments, dropped if nobody reads.

What the bytes are is the protocols' matter.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from tokenweir.serving.problems import Limits

__all__ = ["EventStream"]


class EventStream:
    """An ASGI response of server-sent events.

    Memory stays bounded by what the socket's buffers hold: the next part is asked for when the
    last one has gone. A client that does not read for ``limits.slow_seconds`` loses its
    connection, and can come back with the last id it has.
    """

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        limits: Limits,
        *,
        headers: Mapping[str, str] | None = None,
        on_leave: Callable[[], Any] | None = None,
        heartbeat: bytes = b": heartbeat\n\n",
    ) -> None:
        """
        Args:
            parts: Whole events, encoded; several at once are written at once. Closed at the end.
            limits: How long to wait, and how often to write the heartbeat on a silent stream.
            headers: More headers of the response.
            on_leave: Called when the client left, or was dropped, before the end.
            heartbeat: Written when nothing was for ``limits.heartbeat_seconds``; b"" for none.
        """
        self._parts = parts
        self._limits = limits
        self._on_leave = on_leave
        self._heartbeat = heartbeat
        self._headers = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            **{name.lower(): value for name, value in (headers or {}).items()},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writing = asyncio.ensure_future(self._write(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done() and not writing.cancelled() and writing.exception() is None:
                return
            if self._on_leave is not None:
                self._on_leave()
            if writing.done():
                error = writing.exception()
                if isinstance(error, _TooSlowError) and "tokenweir.abort" in scope:
                    # Closing alone would wait until all that was written has been read.
                    scope["tokenweir.abort"]()
                    await asyncio.sleep(0)
                if error is not None and not isinstance(error, (OSError, _TooSlowError)):
                    raise error
        finally:
            for task in (writing, leaving):
                task.cancel()
            await asyncio.wait({writing, leaving})
            close = getattr(self._parts, "aclose", None)
            if close is not None:
                await close()

    async def _write(self, send: Send) -> None:
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in self._headers.items()
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # At once, not with the first event: clients wait for the headers.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        parts = self._parts.__aiter__()
        coming: asyncio.Future[bytes] | None = None
        try:
            while True:
                if coming is None:
                    coming = asyncio.ensure_future(_next(parts))
                await asyncio.wait({coming}, timeout=self._limits.heartbeat_seconds)
                if coming.done():
                    try:
                        part = coming.result()
                    except StopAsyncIteration:
                        break
                    coming = None
                else:
                    part = self._heartbeat
                if part:
                    body: Message = {"type": "http.response.body", "body": part, "more_body": True}
                    await self._send(send, body)
            await self._send(send, {"type": "http.response.body", "body": b""})
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait({coming})
                if not coming.cancelled():
                    coming.exception()

    async def _send(self, send: Send, message: Message) -> None:
        try:
            await asyncio.wait_for(send(message), self._limits.slow_seconds)
        except asyncio.TimeoutError:
            raise _TooSlowError from None


class _TooSlowError(Exception):
    """Raised when a client does not read."""


async def _next(parts: AsyncIterator[bytes]) -> bytes:
    return await parts.__anext__()


async def _left(receive: Receive) -> None:
    """Return when the client has left."""
    with contextlib.suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass
