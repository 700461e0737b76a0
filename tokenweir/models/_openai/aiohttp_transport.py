"""The transport of httpx2 over aiohttp, which reads at a third of the cost of httpx2's own.

``AiohttpBody`` is the body of a response. It is also in the response's ``extensions``, for readers
that bypass the layers in between.

Private names used: ``_read_nowait`` of an aiohttp ``StreamReader`` returns the bytes that arrived
before the connection broke.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import httpx2
import openai

__all__ = ["AiohttpBody", "AiohttpTransport", "body_of"]

_MAX_HEADER = 64 << 10
"""Bytes of one header. aiohttp's own limit of 8 KiB is less than some gateways send."""

_EXTENSION = "tokenweir.body"

_ERRORS: tuple[tuple[type[Exception], type[httpx2.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx2.ReadTimeout),
    (aiohttp.ClientProxyConnectionError, httpx2.ProxyError),
    (aiohttp.ClientHttpProxyError, httpx2.ProxyError),
    (aiohttp.ClientConnectorError, httpx2.ConnectError),
    (aiohttp.InvalidURL, httpx2.UnsupportedProtocol),
    (aiohttp.ClientResponseError, httpx2.RemoteProtocolError),
    (aiohttp.ClientPayloadError, httpx2.RemoteProtocolError),
    (aiohttp.ServerDisconnectedError, httpx2.RemoteProtocolError),
    (aiohttp.ClientError, httpx2.ReadError),
)
"""An error of aiohttp is raised as the first one that matches."""


class _HttpxErrors:
    """Raises what httpx2 would raise for an error of aiohttp."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, aiohttp.ClientError):
            raise _httpx_error(error) from error


_httpx_errors = _HttpxErrors()


def _httpx_error(error: aiohttp.ClientError) -> httpx2.TransportError:
    kind = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
    # The text of an HTTP error begins with a status code that was never sent.
    said: str = getattr(error, "message", "") or str(error)
    # aiohttp adds this to every refused connection, even for an http URL.
    return kind(said.replace(" ssl:default", ""))


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of one event loop.

    Args:
        ssl_context: The trusted certificates.
        proxy_for: The proxy's URL for a request's URL; None for none.
    """

    def __init__(
        self, ssl_context: ssl.SSLContext, proxy_for: Callable[[httpx2.URL], str | None]
    ) -> None:
        self._ssl_context = ssl_context
        self._proxy_for = proxy_for
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        limits = openai.DEFAULT_CONNECTION_LIMITS
        connector = aiohttp.TCPConnector(
            limit=limits.max_connections or 0,
            keepalive_timeout=limits.keepalive_expiry,
            ssl=self._ssl_context,
        )
        return aiohttp.ClientSession(
            connector=connector, max_line_size=_MAX_HEADER, max_field_size=_MAX_HEADER
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send, and wait for the head of the response."""
        session = self._session
        if session is None:
            session = self._session = self._open()
        timeout = request.extensions.get("timeout", {})
        data: Any
        try:
            data = request.content or None
        except httpx2.RequestNotRead:
            data = request.stream
            request.headers.pop("transfer-encoding", None)  # aiohttp sets it
        with _httpx_errors:
            response = await session.request(
                request.method,
                str(request.url),
                headers=_headers_of(request),
                data=data,
                allow_redirects=False,
                auto_decompress=False,
                compress=False,
                timeout=aiohttp.ClientTimeout(
                    connect=timeout.get("pool"),
                    sock_connect=timeout.get("connect"),
                    sock_read=timeout.get("read"),
                ),
                server_hostname=request.extensions.get("sni_hostname"),
                proxy=self._proxy_for(request.url),
            )
        body = AiohttpBody(response)
        extensions: dict[str, Any] = {"http_version": b"HTTP/1.1", _EXTENSION: body}
        if response.reason:
            extensions["reason_phrase"] = response.reason.encode()
        return httpx2.Response(
            response.status, headers=response.raw_headers, stream=body, extensions=extensions
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def _headers_of(request: httpx2.Request) -> list[tuple[str, str]]:
    """The headers, decoded with one look-up of their encoding instead of one for each."""
    encoding = request.headers.encoding
    return [
        (name.lower().decode(encoding), value.decode(encoding))
        for name, value in request.headers.raw
    ]


def body_of(response: httpx2.Response) -> AiohttpBody | None:
    """The body of a response that came over an ``AiohttpTransport``; None if it came otherwise."""
    found: AiohttpBody | None = response.extensions.get(_EXTENSION)
    return found


def _broken() -> aiohttp.ClientPayloadError:
    return aiohttp.ClientPayloadError("the connection ended, or broke HTTP, in the body")


def _look_at(closed: asyncio.Future[None]) -> None:
    """Retrieve the exception, so that asyncio does not log that it was never retrieved."""
    if not closed.cancelled():
        closed.exception()


class AiohttpBody(httpx2.AsyncByteStream):
    """The body of a response.

    Attributes:
        reader: aiohttp's own.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.reader = response.content
        # On broken HTTP, aiohttp 3.14 closes the connection but leaves the body waiting.
        connection = response.connection
        self._closed = None
        if connection is not None and connection.protocol is not None:
            self._closed = connection.protocol.closed
        if self._closed is not None:
            self._closed.add_done_callback(self._end)

    def _end(self, closed: asyncio.Future[None]) -> None:
        _look_at(closed)
        if not self.reader.is_eof() and self.reader.exception() is None:
            self.reader.set_exception(_broken())

    @property
    def transport(self) -> asyncio.Transport | None:
        """The connection, while the body is still being received."""
        connection = self._response.connection
        transport = None if connection is None else connection.transport
        return None if transport is None or transport.is_closing() else transport

    async def receive(self) -> bytes:
        """Wait for the next bytes; empty at the end. Bytes before an error are returned first."""
        with _httpx_errors:
            try:
                return await self.reader.readany()
            except aiohttp.ClientError:
                if left := self._left():
                    return left
                raise
            except RuntimeError as error:  # so aiohttp says it until it has closed the connection
                if self.transport is not None:
                    raise
                raise _broken() from error

    def receive_nowait(self) -> bytes:
        """The bytes that have arrived; empty if there are none."""
        with _httpx_errors:
            try:
                return self.reader.read_nowait()
            except aiohttp.ClientError:
                if left := self._left():
                    return left
                raise

    def _left(self) -> bytes:
        with suppress(AttributeError):  # another aiohttp: the error comes at once
            left: bytes = self.reader._read_nowait(-1)
            return left
        return b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.receive():
            yield data

    async def aclose(self) -> None:
        """Release the connection; it is closed unless the body was read to its end."""
        if self._closed is not None:
            self._closed.remove_done_callback(self._end)
            self._closed.remove_done_callback(_look_at)  # of the connection's body before this one
            self._closed.add_done_callback(_look_at)
        with _httpx_errors:
            await self._response.__aexit__(None, None, None)
