"""A streamed response: sent as it comes, kept alive by comments, dropped if the client is too slow.

The protocols make the bytes. As there are many streams with small parts, parts have no tasks or
timers of their own: per stream, one task writes, one waits for the client to disconnect, and one
timer checks the writer in intervals. As long as the client reads, parts that can be pushed do not
even wake the writing task.
"""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from tokenweir.serving.problems import CutOffError, Limits

__all__ = ["EventStream"]


class EventStream:
    """An ASGI response of server-sent events.

    Memory is bounded by the socket's buffers and one part: the next part is requested when the
    last one was sent. A client that stops reading for ``limits.slow_seconds`` (up to twice that)
    is disconnected, and can reconnect with its last id. If the server stops before the run ends,
    the connection is aborted: only a complete stream is closed normally.
    """

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        limits: Limits,
        *,
        begun: bytes = b"",
        headers: Mapping[str, str] | None = None,
        on_leave: Callable[[], Any] | None = None,
        heartbeat: bytes = b": heartbeat\n\n",
    ) -> None:
        """
        Args:
            parts: Encoded events; a part with several is written at once. Closed at the end. If
                they have ``push``, like ``EventParts``, live ones are pushed.
            limits: How long to wait for the client, and the interval of heartbeats.
            begun: What to write before the parts.
            headers: Additional headers of the response.
            on_leave: Called if the client disconnects, or is dropped, before the end.
            heartbeat: Written after ``limits.heartbeat_seconds`` of silence; b"" for none.
        """
        self._parts = parts
        self._begun = begun
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
        writer = _Writer(scope.get("tokenweir.send", send), self._heartbeat)
        # Servers other than uvicorn may expect ``send`` to be called in a task.
        pushed = "tokenweir.abort" in scope
        writing = asyncio.ensure_future(self._write(writer, send, pushed=pushed))
        leaving = asyncio.ensure_future(_left(receive))
        watch = _Watch(writer, self._limits)
        try:
            await asyncio.wait(
                {writing, leaving, watch.given_up}, return_when=asyncio.FIRST_COMPLETED
            )
            error = None
            if writing.done() and not writing.cancelled():
                error = writing.exception()
                if error is None:
                    return
            cut = isinstance(error, CutOffError)
            if self._on_leave is not None and not cut:
                self._on_leave()
            if (cut or watch.given_up.done()) and "tokenweir.abort" in scope:
                # Closing it would wait until the client has read all that was written.
                scope["tokenweir.abort"]()
                await asyncio.sleep(0)
            if error is not None and not isinstance(error, (OSError, CutOffError)):
                raise error
        finally:
            watch.stop()
            for task in (writing, leaving):
                task.cancel()
            await asyncio.wait({writing, leaving})
            await writer.close()
            close = getattr(self._parts, "aclose", None)
            if close is not None:
                await close()

    async def _write(self, writer: _Writer, begin: Send, *, pushed: bool) -> None:
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in self._headers.items()
        ]
        await begin({"type": "http.response.start", "status": 200, "headers": headers})
        # At once, not with the first event: clients wait for the headers.
        await writer.write(self._begun)
        push = getattr(self._parts, "push", None)
        if pushed and push is not None:
            push(writer)
        async for part in self._parts:
            await writer.write(part)
        await writer.write(b"", more=False)


class _Writer:
    """Writes parts, and heartbeats between them.

    Attributes:
        since: When the last write began, in the loop's time.
        busy: Whether it has not ended yet; this is so while the client does not read.
    """

    def __init__(self, send: Send, heartbeat: bytes) -> None:
        self.send: Any = send
        self._clock = asyncio.get_running_loop().time
        self._heartbeat = heartbeat
        self._beside: asyncio.Task[None] | None = None
        """A write outside ``write``: a heartbeat, or the rest of a pushed part."""
        self.since = self._clock()
        self.busy = False

    async def write(self, part: bytes, *, more: bool = True) -> None:
        while (beside := self._beside) is not None:
            await asyncio.wait({beside})
            beside.result()
        self.since = self._clock()
        self.busy = True
        await self.send({"type": "http.response.body", "body": part, "more_body": more})
        self.busy = False

    @property
    def ready(self) -> bool:
        return not self.busy

    def take(self, part: bytes) -> None:
        """Write a part outside the stream's task; only while ready.

        Usually the write is done when this returns. If the client does not read, a task finishes
        it, and this is busy until then.
        """
        self.since = self._clock()
        sending = self.send({"type": "http.response.body", "body": part, "more_body": True})
        try:
            awaited = sending.send(None)
        except StopIteration:
            return
        self._write_beside(_resumed(sending, awaited))

    def beat(self) -> None:
        """Write a heartbeat; only while not busy."""
        if self._heartbeat:
            self.since = self._clock()
            message = {"type": "http.response.body", "body": self._heartbeat, "more_body": True}
            self._write_beside(self.send(message))

    async def close(self) -> None:
        if (beside := self._beside) is not None:
            beside.cancel()
            await asyncio.wait({beside})
            if not beside.cancelled():
                beside.exception()  # mark the error as retrieved

    def _write_beside(self, sending: Awaitable[None]) -> None:
        self.busy = True
        self._beside = asyncio.ensure_future(self._finish(sending))

    async def _finish(self, sending: Awaitable[None]) -> None:
        await sending
        # Not after an error: it stays busy until the next write raises it, or it is given up.
        self.busy = False
        self._beside = None


@types.coroutine
def _resumed(sending: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """Continue a coroutine in a task that was started without one, and waits for something."""
    try:
        yield awaited
    except BaseException:
        sending.close()
        raise
    yield from sending


class _Watch:
    """Checks a writer in intervals: gives it up, or makes it write a heartbeat.

    Attributes:
        given_up: Done when the client has not read for too long.
    """

    def __init__(self, writer: _Writer, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._limits = limits
        self.given_up: asyncio.Future[None] = self._loop.create_future()
        self._timer = self._loop.call_later(self._pause, self._look)

    @property
    def _pause(self) -> float:
        return min(self._limits.heartbeat_seconds, self._limits.slow_seconds)

    def stop(self) -> None:
        self._timer.cancel()
        self.given_up.cancel()

    def _look(self) -> None:
        writer, now = self._writer, self._loop.time()
        lasted = now - writer.since
        if writer.busy and lasted >= self._limits.slow_seconds:
            self.given_up.set_result(None)
            return
        due = self._limits.heartbeat_seconds - lasted
        if not writer.busy and due <= 0:
            writer.beat()
        wait = min(due, self._pause) if due > 0 else self._pause
        self._timer = self._loop.call_later(wait, self._look)


async def _left(receive: Receive) -> None:
    """Return when the client has disconnected."""
    with contextlib.suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass
