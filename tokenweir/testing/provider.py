"""A scripted provider: a real HTTP server on loopback that speaks OpenAI's protocols, and
DashScope's own.

It answers what it was told to, at the pace it was told, and misbehaves on demand. It records what
it was asked and how each client left. ::

    with Provider() as provider:
        provider.reply("Why did the cat sit down?")
        model = ChatOpenAI(base_url=provider.base_url, api_key="test")

The server lives in a thread with an event loop of its own, so that it serves sync and async tests
alike. HTTP is written by hand here, because its bytes must be able to go wrong.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from tokenweir.testing.dashscope_protocol import DashScopeAnswer
from tokenweir.testing.openai_protocol import (
    ChatAnswer,
    CompletionAnswer,
    error_body,
    prompt_of,
)
from tokenweir.testing.reply import Reply

__all__ = ["Provider", "RecordedRequest"]

State = Literal["running", "finished", "cut", "client_left", "stopped"]

_SMALL_BUFFER = 8_192
"""Bytes the kernel and the loop may hold for a client that does not read; small, so that a client
that stops reading is felt after a few dozen tokens and not after thousands."""


@dataclass(eq=False)
class RecordedRequest:
    """One request, and what became of its answer.

    Attributes:
        path: The path asked for.
        headers: The request's headers, by lower-case names.
        body: The request's JSON, or None.
        state: ``running``, ``finished``, ``cut`` (as scripted), ``client_left``, or ``stopped``
            when the provider was closed first.
        tokens_written: Tokens handed to the socket so far.
        connection: The number of the connection that it came by, from 0.
        asked_at: When it came, on the monotonic clock, in seconds.
        ended_at: When its answer ended, or None.
    """

    path: str
    headers: dict[str, str]
    body: Any
    connection: int
    state: State = "running"
    tokens_written: int = 0
    asked_at: float = field(default_factory=time.monotonic)
    ended_at: float | None = None
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)
    _released: bool = field(default=False, repr=False)

    @property
    def prompt(self) -> str:
        """The text of the request's last message."""
        return prompt_of(self.body or {})

    def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until the answer has ended, in whichever way; TimeoutError after ``timeout`` s."""
        if not self._ended.wait(timeout):
            raise TimeoutError(f"the request is still {self.state} after {timeout} s: {self!r}")

    async def aclosed(self, timeout: float | None = None) -> None:
        """As ``wait_closed``, without blocking the event loop."""
        await asyncio.to_thread(self.wait_closed, timeout)

    def _end(self, state: State) -> None:
        if self.state == "running":
            self.state = state
            self.ended_at = time.monotonic()
            self._ended.set()


Rule = Callable[[RecordedRequest], bool]


class Provider:
    """A scripted provider on a loopback port.

    Which reply a request gets: the first rule (``on``) that matches it; else the next of the
    queue (``reply``); else ``default``, which says the prompt back.
    """

    def __init__(self, *, models: tuple[str, ...] = ("gpt-4o-mini",)) -> None:
        self.models = models
        self.default: Reply | None = None
        self.requests: list[RecordedRequest] = []
        self._queue: deque[Reply] = deque()
        self._rules: list[tuple[Rule, deque[Reply]]] = []
        self._news = threading.Condition()
        self._connections = 0
        self._open: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._port = 0

    # The script

    def reply(self, *replies: Reply | str) -> None:
        """Answer the next requests with these, in turn."""
        self._queue.extend(_as_reply(reply) for reply in replies)

    def on(self, what: str | Rule, *replies: Reply | str) -> None:
        """Answer requests whose last message holds ``what`` (or for which it is true) with these.

        Several replies are given in turn, the last one for ever. For nodes that run at once, where
        the order of requests is not fixed.
        """
        rule = what if callable(what) else (lambda request: what in request.prompt)
        self._rules.append((rule, deque(_as_reply(reply) for reply in replies)))

    def release(self) -> None:
        """Let the replies go on that wait, or will wait, at their ``hold_after``.

        Holds for the requests that have come so far (see ``wait_for_requests``), not for later
        ones.
        """
        with self._news:
            for request in self.requests:
                request._released = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    # What one needs to talk to it

    @property
    def base_url(self) -> str:
        """The URL to give to a client, with ``/v1``."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def dashscope_url(self) -> str:
        """The URL to give to DashScope's SDK, with ``/api/v1``."""
        return f"http://127.0.0.1:{self._port}/api/v1"

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables that make ``ChatOpenAI()`` and ``AsyncOpenAI()`` talk to it."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": "test"}

    @property
    def open_connections(self) -> int:
        """How many connections are open just now."""
        return len(self._open)

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> list[RecordedRequest]:
        """Wait until so many requests have come; TimeoutError after ``timeout`` seconds."""
        with self._news:
            if not self._news.wait_for(lambda: len(self.requests) >= count, timeout):
                raise TimeoutError(f"{len(self.requests)} of {count} requests came in {timeout} s")
            return list(self.requests)

    # Its life

    def start(self) -> None:
        """Open the port and serve in a thread."""
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=self._live, args=(started,), name="scripted-provider", daemon=True
        )
        self._thread.start()
        started.result()

    def close(self) -> None:
        """Stop at once, whoever is still connected."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._loop = None

    def __enter__(self) -> Provider:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Provider:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)

    def _live(self, started: concurrent.futures.Future[None]) -> None:
        asyncio.run(self._serve(started))

    async def _serve(self, started: concurrent.futures.Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._waking = asyncio.Event()
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        # Accepted sockets inherit it: a client that does not read is felt early.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL_BUFFER)
        self._port = listening.getsockname()[1]
        server = await asyncio.start_server(self._accept, sock=listening, limit=1 << 24)
        started.set_result(None)
        await self._stop.wait()
        server.close()
        for task in list(self._open):
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)
        for request in self.requests:
            request._end("stopped")

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        number = self._connections
        self._connections += 1
        writer.transport.set_write_buffer_limits(high=_SMALL_BUFFER)
        # asyncio sets it only on sockets that were made by naming TCP; without it an answer's
        # second packet waits 40 ms for the client's acknowledgement of the first.
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        early = b""
        try:
            while (rest := await self._one_request(early, reader, writer, number)) is not None:
                early = rest
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
        finally:
            writer.transport.abort()
            self._open.discard(task)

    async def _one_request(
        self,
        early: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
    ) -> bytes | None:
        """Serve one request; what was read of the next, or None when the connection is over."""
        try:
            head = early + await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        pairs = (line.split(":", 1) for line in lines if ":" in line)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        data = await reader.readexactly(int(headers.get("content-length", 0)))
        try:
            body = json.loads(data) if data else None
        except ValueError:
            body = None
        request = RecordedRequest(path, headers, body, number)
        with self._news:
            self.requests.append(request)
            self._news.notify_all()
        answering = asyncio.ensure_future(self._answer(method, request, writer))
        # Reading on meanwhile is how a client's leaving is noticed while nothing is written.
        reading = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({reading, answering}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() and not reading.result():
                request._end("client_left")
                return None
            if not await answering:
                return None
            return reading.result() if reading.done() else b""
        except ConnectionError:
            request._end("client_left")
            return None
        finally:
            for waiting in (reading, answering):
                waiting.cancel()
            await asyncio.wait({reading, answering})
            for waiting in (reading, answering):
                if not waiting.cancelled():
                    waiting.exception()

    # Answers

    def _choose(self, request: RecordedRequest) -> Reply:
        for rule, replies in self._rules:
            if replies and rule(request):
                return replies.popleft() if len(replies) > 1 else replies[0]
        if self._queue:
            return self._queue.popleft()
        return self.default or Reply(f"You said: {request.prompt}")

    async def _answer(
        self, method: str, request: RecordedRequest, writer: asyncio.StreamWriter
    ) -> bool:
        if method == "GET" and request.path.endswith("/models"):
            models = [{"id": name, "object": "model", "owned_by": "you"} for name in self.models]
            body = json.dumps({"object": "list", "data": models}).encode()
            return await self._whole(request, writer, 200, body)
        form = next((form for form in _FORMS if request.path.endswith(form)), None)
        if form is None:
            body = error_body(f"Unknown path {request.path}", kind="invalid_request_error")
            return await self._whole(request, writer, 404, body)
        make = _FORMS[form]
        if not isinstance(request.body, dict) or not request.body.get(make.needs):
            body = error_body(f"{make.needs!r} is missing", kind="invalid_request_error")
            return await self._whole(request, writer, 400, body)
        reply = self._choose(request)
        answer = make(reply, request.body, request.headers)
        if reply.status != 200:
            return await self._whole(request, writer, reply.status, answer.refusal(), reply.headers)
        if not answer.streams():
            await asyncio.sleep(reply.first_after)
            if reply.hold_after is not None:
                await self._held(request)
            if reply.stall_after is not None:
                await asyncio.Event().wait()
            request.tokens_written = reply.count()
            return await self._whole(request, writer, 200, answer.whole(), reply.headers)
        return await _Streaming(self, request, reply, answer, writer).run()

    async def _whole(
        self,
        request: RecordedRequest,
        writer: asyncio.StreamWriter,
        status: int,
        body: bytes,
        headers: Any = None,
    ) -> bool:
        head = {"content-type": "application/json", "content-length": len(body), **(headers or {})}
        request._end("finished")  # before a client can know it
        writer.write(_head(status, head) + body)
        await writer.drain()
        return True

    async def _held(self, request: RecordedRequest) -> None:
        while not request._released:
            await self._waking.wait()

    def _wake(self) -> None:
        self._waking.set()
        self._waking = asyncio.Event()


class _Streaming:
    """One streamed answer on its way."""

    def __init__(
        self,
        provider: Provider,
        request: RecordedRequest,
        reply: Reply,
        answer: ChatAnswer | DashScopeAnswer,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.provider = provider
        self.request = request
        self.reply = reply
        self.answer = answer
        self.writer = writer
        self.chance = reply.chance()
        self.kept = bytearray()

    async def run(self) -> bool:
        reply = self.reply
        head = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        self.writer.write(_head(200, {**head, **reply.headers}))
        await asyncio.sleep(reply.first_after)
        await self.send(self.answer.first())
        for number, event in enumerate(self.answer.tokens()):
            if number == reply.cut_after:
                return await self.cut(event)
            if number == reply.error_after:
                return await self.end(self.answer.error(), "finished")
            if number == reply.garbage_after:
                return await self.end(self.answer.raw('{"id": "chatcmpl-'), "finished")
            if number == reply.hold_after:
                await self.flush()
                await self.provider._held(self.request)
            if number == reply.stall_after:
                await self.flush()
                await self.stall()
            if reply.every and number and number % reply.lump == 0:
                await asyncio.sleep(reply.every)
            await self.send(event)
            self.request.tokens_written += 1
        return await self.end(self.answer.last(), "finished")

    async def stall(self) -> None:
        while self.reply.stall_comments:
            await asyncio.sleep(self.reply.stall_comments)
            self.writer.write(_chunk(b": keep-alive\n\n"))
            await self.writer.drain()
        await asyncio.Event().wait()

    async def send(self, data: bytes) -> None:
        if not data:
            return
        if self.reply.burst:
            self.kept += data
            return
        for part in self.reply.parts(data, self.chance):
            self.writer.write(_chunk(part))
            await self.writer.drain()
            if self.reply.split is not None:
                await asyncio.sleep(0)  # its own packet

    async def flush(self) -> None:
        if self.kept:
            self.writer.write(_chunk(bytes(self.kept)))
            self.kept.clear()
        await self.writer.drain()

    async def end(self, data: bytes, state: State) -> bool:
        # First, so that a client that has read the end finds it recorded.
        self.request._end(state)
        await self.send(data)
        await self.flush()
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
        return True

    async def cut(self, event: bytes) -> bool:
        if self.reply.cut == "event":
            await self.send(event[: len(event) // 2])
        await self.flush()
        self.request._end("cut")
        if self.reply.cut == "eof":
            self.writer.write(b"0\r\n\r\n")
            await self.writer.drain()
        elif self.reply.cut == "reset":
            raw = self.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.writer.close()
            with contextlib.suppress(ConnectionError):
                await self.writer.wait_closed()
        return self.reply.cut == "eof"


_FORMS: dict[str, type[ChatAnswer] | type[DashScopeAnswer]] = {
    "/chat/completions": ChatAnswer,
    "/completions": CompletionAnswer,
    "/text-generation/generation": DashScopeAnswer,
}
"""The protocols, by the end of the path."""

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}


def _head(status: int, headers: dict[str, Any]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _as_reply(reply: Reply | str) -> Reply:
    return reply if isinstance(reply, Reply) else Reply(reply)
