"""HTTP clients that a model can keep for the whole process.

An HTTP connection is bound to the event loop in which it was opened. A model made at module level
outlives loops: ``asyncio.run`` makes a new one each time, each thread may have its own, a notebook
has one that never ends. ``AsyncHttpClient`` works in all of them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import urllib.request
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import httpx2
import openai
from langchain_openai import ChatOpenAI, OpenAI

from tokenweir.models._openai import compression
from tokenweir.models._openai.aiohttp_transport import AiohttpTransport
from tokenweir.models._openai.sender import outcome_for_the_sdk
from tokenweir.streaming.flow_control import current_flow_control

__all__ = ["AsyncHttpClient", "HttpClient", "async_http_client", "sync_http_client"]

_ORIGIN = "tokenweir.origin"
_STANDARD = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host"}
_STANDARD |= {"transfer-encoding", "user-agent"}
"""Headers that may follow a redirect to another server. Others may contain a key."""


class AsyncHttpClient(openai.DefaultAsyncHttpxClient):
    """An async HTTP client that works in every event loop and thread.

    Args:
        make: Makes the transport of one event loop.

    When ``asyncio.run`` ends a loop, the loop's connections are closed.
    """

    def __init__(self, make: Callable[[], httpx2.AsyncBaseTransport]) -> None:
        self._transports = PerLoopTransport(make)
        super().__init__(transport=self._transports)

    async def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        """As httpx2 does; on a redirect, no key goes to another server."""
        request.extensions[_ORIGIN] = _origin(request.url)
        return await super().send(request, **kwargs)

    async def send_past_httpx(self, request: httpx2.Request) -> httpx2.Response:
        """Send once, with cookies but without redirects, hooks and authentication."""
        response = await self._transports.handle_async_request(request)
        response.request = request
        if "set-cookie" in response.headers:
            self.cookies.extract_cookies(response)
        return response

    async def aclose(self) -> None:
        """Close the connections of the running loop; the next request opens others."""
        await self._transports.aclose()


class PerLoopTransport(httpx2.AsyncBaseTransport):
    """Keeps one transport per event loop. Safe to share between threads."""

    def __init__(self, make: Callable[[], httpx2.AsyncBaseTransport]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Kept] = WeakKeyDictionary()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send over the transport of the running loop."""
        if (known := outcome_for_the_sdk()) is not None:
            return known
        loop = asyncio.get_running_loop()
        kept = self._by_loop.get(loop) or await self._open(loop)
        _guard_keys(request)
        return compression.decompressed(await kept.transport.handle_async_request(request))

    async def _open(self, loop: asyncio.AbstractEventLoop) -> _Kept:
        with self._lock:
            for dead in [other for other in self._by_loop if other.is_closed()]:
                # Its connections refer to the loop, so it would never be collected by itself.
                self._by_loop.pop(dead).forget()
            kept = self._by_loop[loop] = _Kept(self._make(), loop)
        # The model was dropped while its loop still runs: close its connections there.
        kept.let_go = weakref.finalize(self, kept.close_soon)
        kept.let_go.atexit = False
        await kept.close_with_its_loop()
        return kept

    async def aclose(self) -> None:
        """Close the running loop's transport; the next request makes a new one."""
        with self._lock:
            kept = self._by_loop.pop(asyncio.get_running_loop(), None)
        if kept is not None:
            await kept.close()


class _Kept:
    """The transport of one loop, closed once, in that loop."""

    _open: ClassVar[set[_Kept]] = set()
    """The ones that are not closed yet, so that ``close`` can wait for them."""

    def __init__(
        self, transport: httpx2.AsyncBaseTransport, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.transport = transport
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
        """Close the connections, and wait until they are closed."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self.transport.aclose())
        try:
            await asyncio.shield(self._closing)
        finally:
            self.forget()

    def forget(self) -> None:
        """Drop the reference to the loop, which has nothing of this left to close."""
        self._open.discard(self)
        if self.let_go is not None:
            self.let_go.detach()

    def close_soon(self) -> None:
        """Close from any thread, if the loop still runs."""
        with suppress(RuntimeError):  # it does not
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self.close()))


class HttpClient(openai.DefaultHttpxClient):
    """A sync HTTP client, like ``AsyncHttpClient``.

    Args:
        make: Makes a transport for a proxy's URL, or for None.
        proxy_for: The proxy's URL for a request's URL; None for none.
    """

    def __init__(
        self,
        make: Callable[[str | None], httpx2.BaseTransport],
        proxy_for: Callable[[httpx2.URL], str | None],
    ) -> None:
        super().__init__(transport=_SyncTransport(make, proxy_for))

    def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        """As httpx2 does; on a redirect, no key goes to another server."""
        request.extensions[_ORIGIN] = _origin(request.url)
        return super().send(request, **kwargs)


class _SyncTransport(httpx2.BaseTransport):
    def __init__(
        self,
        make: Callable[[str | None], httpx2.BaseTransport],
        proxy_for: Callable[[httpx2.URL], str | None],
    ) -> None:
        self._make = make
        self._proxy_for = proxy_for
        self._by_proxy: dict[str | None, httpx2.BaseTransport] = {}
        # Not a __del__: by then Python may already have warned of unclosed sockets.
        weakref.finalize(self, _close_all, self._by_proxy)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        proxy = self._proxy_for(request.url)
        transport = self._by_proxy.get(proxy)
        if transport is None:
            transport = self._by_proxy.setdefault(proxy, self._make(proxy))
        _guard_keys(request)
        response = transport.handle_request(request)
        _leave_with_the_reader(response)
        return compression.decompressed(response)

    def close(self) -> None:
        _close_all(self._by_proxy)


def _close_all(transports: dict[str | None, httpx2.BaseTransport]) -> None:
    for transport in transports.values():
        transport.close()


def _leave_with_the_reader(response: httpx2.Response) -> None:
    """End a sync call when the reader of its run leaves.

    A thread that waits for a provider's next byte cannot be cancelled, but shutting its socket down
    wakes it.
    """
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


def _origin(url: httpx2.URL) -> tuple[str, int | None]:
    return url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _guard_keys(request: httpx2.Request) -> None:
    """Remove headers that may contain keys from a request redirected to another server."""
    if request.extensions.get(_ORIGIN) == _origin(request.url):
        return
    for name in [name for name in request.headers if name not in _STANDARD]:
        del request.headers[name]


@lru_cache(maxsize=4)
def _ssl_context(*environment: str | None) -> ssl.SSLContext:
    """The clients' SSL context; all share it, because reading the certificates takes 30 ms."""
    return httpx2.create_ssl_context()


def _trusted() -> ssl.SSLContext:
    return _ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


def _proxies(model: ChatOpenAI | OpenAI) -> Callable[[httpx2.URL], str | None]:
    """A function from a URL to its proxy: the model's, or the environment's."""
    own = model.openai_proxy
    if own or getattr(model, "http_socket_options", None):
        return lambda url: own  # as in ChatOpenAI, socket options disable the environment's proxies
    known = urllib.request.getproxies()

    def proxy_for(url: httpx2.URL) -> str | None:
        if not known or urllib.request.proxy_bypass(url.netloc.decode("ascii")):
            return None
        found = known.get(url.scheme) or known.get("all")
        return found if not found or "://" in found else f"http://{found}"

    return proxy_for


def async_http_client(model: ChatOpenAI | OpenAI) -> AsyncHttpClient:
    """An HTTP client for a model's async calls.

    It uses aiohttp, except with socket options or with a proxy that aiohttp does not support.
    """
    proxy_for = _proxies(model)
    options = getattr(model, "http_socket_options", None)
    proxy = proxy_for(httpx2.URL(model.openai_api_base or "https://api.openai.com"))
    if options is None and not (proxy and proxy.startswith("socks")):
        return AsyncHttpClient(lambda: AiohttpTransport(_trusted(), proxy_for))
    return AsyncHttpClient(
        lambda: httpx2.AsyncHTTPTransport(
            verify=_trusted(),
            proxy=proxy,
            socket_options=options,
            limits=openai.DEFAULT_CONNECTION_LIMITS,
        )
    )


def sync_http_client(model: ChatOpenAI | OpenAI) -> HttpClient:
    """An HTTP client for a model's sync calls."""
    options = getattr(model, "http_socket_options", None)

    def make(proxy: str | None) -> httpx2.HTTPTransport:
        return httpx2.HTTPTransport(
            verify=_trusted(),
            proxy=proxy,
            socket_options=options,
            limits=openai.DEFAULT_CONNECTION_LIMITS,
        )

    return HttpClient(make, _proxies(model))
