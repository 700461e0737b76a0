"""HTTP clients that a model can keep for the whole process.

An HTTP client is bound to the event loop in which its connections were opened. A model made at
module level outlives loops: ``asyncio.run`` makes a new one each time, each thread may have its
own, a notebook has one that never ends. ``PerLoopClient`` is one client for all of them.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import httpx2
import openai

from tokenweir.streaming.flow_control import current_flow_control

__all__ = ["PerLoopClient", "leave_when_the_reader_goes"]


_KEPT_REQUESTS = 16
"""By their headers: these are the same from call to call, unless somebody gives each its own."""

_NOTHING = httpx2.ByteStream(b"")


class PerLoopClient(openai.DefaultAsyncHttpxClient):
    """An async HTTP client that keeps one real client per event loop.

    Args:
        make: Makes a real client; called once per loop.

    A loop that ends by ``asyncio.run`` closes its client's connections as it goes. Safe to share
    between threads.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        first = make()
        super().__init__(base_url=first.base_url, timeout=first.timeout, transport=first._transport)
        self._make = make
        self._built: dict[Any, httpx2.Request] = {}
        self._lock = threading.Lock()
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Client] = WeakKeyDictionary()

    def build_request(self, method: str, url: Any, **kwargs: Any) -> httpx2.Request:
        """As httpx2 does; a request that only differs in its body from one before, from that one.

        A model sends the same headers to the same address for ever, and merging, encoding and
        parsing them is half of what a request costs before it is sent.
        """
        content, headers, timeout = (kwargs.get(name) for name in ("content", "headers", "timeout"))
        others = [name for name, value in kwargs.items() if value is not None]
        if (
            type(content) is not bytes
            or not content
            or type(headers) is not list
            or not isinstance(timeout, httpx2.Timeout)
            or len(others) != 3
            or self.params
            or self.cookies
        ):
            return super().build_request(method, url, **kwargs)
        key = (method, url, *headers, *self.headers.raw)
        before = self._built.get(key)
        if before is None:
            made = super().build_request(method, url, **kwargs)
            if not any(name.lower() == "content-length" for name, _ in headers):
                if len(self._built) >= _KEPT_REQUESTS:
                    self._built.clear()
                self._built[key] = httpx2.Request(method, made.url, stream=_NOTHING)
                self._built[key].headers = made.headers.copy()
            return made
        made = httpx2.Request(
            method,
            before.url,
            stream=httpx2.ByteStream(content),
            extensions={"timeout": timeout.as_dict()},
        )
        made.headers = before.headers.copy()
        made.headers["Content-Length"] = str(len(content))
        made.read()
        return made

    async def send(self, request: Any, **kwargs: Any) -> Any:
        """Send by the client of the running loop."""
        loop = asyncio.get_running_loop()
        kept = self._by_loop.get(loop) or await self._open(loop)
        return await kept.http.send(request, **kwargs)

    async def _open(self, loop: asyncio.AbstractEventLoop) -> _Client:
        with self._lock:
            for dead in [other for other in self._by_loop if other.is_closed()]:
                # Its connections refer to the loop, so it would never be collected by itself.
                self._by_loop.pop(dead).forget()
            kept = self._by_loop[loop] = _Client(self._make(), loop)
        # A model that is let go of while its loop goes on: close its connections there.
        kept.let_go = weakref.finalize(self, kept.close_soon)
        kept.let_go.atexit = False
        await kept.close_with_its_loop()
        return kept

    async def aclose(self) -> None:
        """Close the running loop's client; it is made anew if it is used again."""
        with self._lock:
            kept = self._by_loop.pop(asyncio.get_running_loop(), None)
        if kept is not None:
            await kept.close()


class _Client:
    """The real client of one loop, closed once, and in its loop."""

    _open: ClassVar[set[_Client]] = set()
    """Until they are closed: one that is forgotten earlier could not be waited for."""

    def __init__(self, http: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.http = http
        self._loop = loop
        self.let_go: Any = None
        self._closing: asyncio.Task[None] | None = None
        self._keeper = self._keep()
        for other in list(self._open):  # a copy: other threads add theirs
            if other._loop.is_closed():
                other.forget()  # its loop ended without closing anything
        self._open.add(self)

    async def close_with_its_loop(self) -> None:
        # Loops close the async generators that were started in them before they end.
        await self._keeper.__anext__()

    async def _keep(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connections; whoever calls this waits until they are."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self.http.aclose())
        try:
            await asyncio.shield(self._closing)
        finally:
            self.forget()

    def forget(self) -> None:
        """Let go of the loop, which has nothing of this left to close."""
        self._open.discard(self)
        if self.let_go is not None:
            self.let_go.detach()

    def close_soon(self) -> None:
        """Close from any thread, if the loop still runs."""
        with suppress(RuntimeError):  # it does not
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self.close()))


def leave_when_the_reader_goes(client: Any) -> Any:
    """Have a sync client's calls end when the reader of the run that they belong to has gone.

    A thread that waits for a provider's next byte cannot be cancelled; shutting its socket down
    wakes it.
    """

    def on_response(response: Any) -> None:
        flow = current_flow_control.get()
        stream = response.extensions.get("network_stream")
        if flow is None or stream is None:
            return
        raw = stream.get_extra_info("socket")

        def abort() -> None:
            with suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)

        # Keyed by the call's flow control and thread: a thread makes one call at a time.
        flow.channel.add_close_callback((id(flow), threading.get_ident()), abort)

    # Not a __del__: by then its sockets may have been found unclosed.
    transports = [client._transport, *(each for each in client._mounts.values() if each)]
    weakref.finalize(client, _close_all, transports)
    hooks = client.event_hooks
    client.event_hooks = {**hooks, "response": [*hooks.get("response", ()), on_response]}
    return client


def _close_all(transports: list[Any]) -> None:
    for transport in transports:
        transport.close()
