"""A scripted provider: a real HTTP server on loopback that speaks OpenAI's protocols, and
DashScope's own.

It answers as scripted, at the scripted pace and with the scripted faults. It records each request
and how its client left. ::

    with Provider() as provider:
        provider.reply("Why did the cat sit down?")
        model = ChatOpenAI(base_url=provider.base_url, api_key="test")

The server runs in a thread with an event loop of its own, so it serves sync and async tests.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import socket
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

from tokenweir.testing.answers import Answering, Gate
from tokenweir.testing.recorded import RecordedRequest
from tokenweir.testing.reply import Reply

__all__ = ["Provider"]

_SMALL_BUFFER = 8_192
"""Bytes that the kernel and the loop may buffer for a client that does not read. They are few, so
that such a client slows the server down after a few dozen tokens, not after thousands."""


Rule = Callable[[RecordedRequest], bool]


class Provider:
    """A scripted provider on a loopback port.

    A request gets the reply of the first rule (``on``) that matches it, or else the next reply of
    the queue (``reply``), or else ``default``, which echoes the prompt.
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
        """Answer the next requests with these replies, in order."""
        self._queue.extend(_as_reply(reply) for reply in replies)

    def on(self, what: str | Rule, *replies: Reply | str) -> None:
        """Answer requests whose last message contains ``what`` (or for which it returns true).

        Several replies are used in order, and the last one from then on. Use it for nodes that run
        in parallel, because the order of their requests is not fixed.
        """
        rule = what if callable(what) else (lambda request: what in request.prompt)
        self._rules.append((rule, deque(_as_reply(reply) for reply in replies)))

    def release(self) -> None:
        """Release the replies that wait, or will wait, at their ``hold_after``.

        This applies to the requests so far (see ``wait_for_requests``), not to later ones.
        """
        with self._news:
            for request in self.requests:
                request._released = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._gate.open)

    # How clients reach it

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
        """Environment variables with which ``ChatOpenAI()`` and ``AsyncOpenAI()`` call it."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": "test"}

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def wait_for_requests(self, count: int, timeout: float = 60.0) -> list[RecordedRequest]:
        """Wait for ``count`` requests in all. Raises TimeoutError after ``timeout`` seconds."""
        with self._news:
            if not self._news.wait_for(lambda: len(self.requests) >= count, timeout):
                raise TimeoutError(f"{len(self.requests)} of {count} requests came in {timeout} s")
            return list(self.requests)

    # Start and stop

    def start(self) -> None:
        """Open the port and serve in a thread."""
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=self._live, args=(started,), name="scripted-provider", daemon=True
        )
        self._thread.start()
        started.result()

    def close(self) -> None:
        """Stop at once, even if clients are connected."""
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
        self._gate = Gate()
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        # Accepted sockets inherit it, so a client that does not read slows the server down early.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL_BUFFER)
        self._port = listening.getsockname()[1]
        server = await asyncio.start_server(self._accept, sock=listening, limit=1 << 24)
        started.set_result(None)
        await self._stop.wait()
        for task in list(self._open):
            task.cancel()
        # A connection that is being accepted is a task, and makes another one, which closes it. If
        # the server is closed before, asyncio forgets such a connection without closing it.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        server.close()
        for request in self.requests:
            request._end("stopped")

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        number = self._connections
        self._connections += 1
        writer.transport.set_write_buffer_limits(high=_SMALL_BUFFER)
        # asyncio sets it only on sockets whose protocol was given as TCP. Without it the second
        # packet of an answer waits 40 ms for the client's acknowledgement of the first.
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        early = b""
        try:
            while not self._stop.is_set():
                rest = await self._one_request(early, reader, writer, number)
                if rest is None:
                    break
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
        """Serve one request. Returns bytes of the next one, or None if the connection has ended."""
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
        answer = Answering(request, self._choose, self.models, self._gate, writer)
        answering = asyncio.ensure_future(answer.run(method))
        # While nothing is written, only a read shows that the client has left.
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

    def _choose(self, request: RecordedRequest) -> Reply:
        for rule, replies in self._rules:
            if replies and rule(request):
                return replies.popleft() if len(replies) > 1 else replies[0]
        if self._queue:
            return self._queue.popleft()
        return self.default or Reply(f"You said: {request.prompt}")


def _as_reply(reply: Reply | str) -> Reply:
    return reply if isinstance(reply, Reply) else Reply(reply)
