"""The middleware before all routes: keys, origins, the size of bodies, and errors as JSON.

It is plain ASGI, so streams pass through unchanged.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
from collections.abc import Sequence
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenweir.serving.http.paths import route_path
from tokenweir.serving.http.refusals import answer, body_of, status_of
from tokenweir.serving.problems import (
    ForbiddenError,
    Limits,
    ServingError,
    TooBigError,
    UnauthorizedError,
)

__all__ = ["Guard", "needs_no_key", "owner_of"]

_OPEN = frozenset({"/ok", "/", "/docs", "/openapi.json"})

_OWNERS = b"tokenweir owner"
_ROUNDS = 50_000
"""Rounds of hashing that turn a key into its owner's id: about 20 ms per key, at the start only.
Runs and threads store the id; whoever reads them has to spend as much on each key to try."""

_logger = logging.getLogger("tokenweir.serving")


def needs_no_key(path: str) -> bool:
    """Whether a path needs no API key.

    These are the health check, the page, which asks for the key, and the description, which is
    the same for every server.
    """
    return path in _OPEN or path.startswith("/page/")


def owner_of(scope: Any) -> str:
    """The owner of a request, set by ``Guard``; "" without API keys."""
    owner: str = scope.get("tokenweir.owner", "")
    return owner


class Guard:
    """The middleware that decides whether a request reaches the routes. CORS runs before it."""

    def __init__(
        self,
        app: ASGIApp,
        keys: Sequence[str],
        cors: Sequence[str],
        limits: Limits,
        local: bool = False,
    ) -> None:
        self._app = app
        # Digests have equal lengths, so comparing them reveals nothing about the keys'.
        self._keys = [hashlib.sha256(key.encode()).digest() for key in keys]
        self._owners = [_owner_id(key) for key in keys]
        self._cors = frozenset(cors)
        self._limits = limits
        self._local = local and not keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        path = route_path(scope)
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
            await send(message)

        try:
            self._check_origin(headers)
            scope["tokenweir.owner"] = self._owner(path, headers)
            limited = self._limited(headers, receive)
            await self._app(scope, limited, sending)
        except ClientDisconnect:
            if not started:
                body = body_of(path, 408, "the body is incomplete: the rest of it did not come")
                await answer(sending, 408, body, [(b"connection", b"close")])
        except ServingError as error:
            if started:
                raise
            status = status_of(path, error)
            body = body_of(path, status, str(error), code=error.code, param=error.param)
            await answer(sending, status, body, _extra(error))
        except Exception as error:
            if started:
                raise
            _logger.error("%s %s failed", scope["method"], path, exc_info=error)
            body = body_of(path, 500, "the server failed; its log says why")
            await answer(sending, 500, body)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept a WebSocket like a request, or refuse the handshake."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            self._check_origin(headers)
            scope["tokenweir.owner"] = self._owner(route_path(scope), headers)
        except ServingError:
            await receive()  # the handshake
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)

    def _owner(self, path: str, headers: dict[bytes, bytes]) -> str:
        if not self._keys:
            return ""
        given = headers.get(b"x-api-key", b"")
        bearer = headers.get(b"authorization", b"")
        if not given and bearer[:7].lower() == b"bearer ":
            given = bearer[7:].strip()
        digest = hashlib.sha256(given).digest()
        matches = [hmac.compare_digest(digest, key) for key in self._keys]
        if any(matches):
            return self._owners[matches.index(True)]
        if needs_no_key(path):
            return ""
        raise UnauthorizedError("an API key is needed: send it as x-api-key, or as a bearer token")

    def _check_origin(self, headers: dict[bytes, bytes]) -> None:
        """Refuse pages of other origins: browsers send some requests without a preflight."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._local and not _is_loopback(host):
            raise ForbiddenError("this server only answers requests to localhost; see --host")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin or origin in self._cors or "*" in self._cors:
            return
        if origin.lower().partition("://")[2] != host:
            raise ForbiddenError(f"pages of {origin} may not call this server; see --cors")

    def _limited(self, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        most = self._limits.body
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > most:
            raise TooBigError(f"the body is larger than {most} bytes")
        seen = 0
        whole = length == b"0" if length else b"transfer-encoding" not in headers

        async def receiving() -> Message:
            nonlocal seen, whole
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._limits.slow_seconds)
            except asyncio.TimeoutError:
                return {"type": "http.disconnect"}
            if message["type"] == "http.request":
                whole = not message.get("more_body", False)
                seen += len(message.get("body", b""))
                if seen > most:
                    raise TooBigError(f"the body is larger than {most} bytes")
            return message

        return receiving


def _owner_id(key: str) -> str:
    """The owner's id for a key: the same at every start, 128 bits; it does not reveal the key."""
    return hashlib.pbkdf2_hmac("sha256", key.encode(), _OWNERS, _ROUNDS, 16).hex()


def _is_loopback(host: str) -> bool:
    name = host[: host.rfind(":")] if re.search(r":\d+$", host) else host
    return name in ("localhost", "[::1]", "") or re.fullmatch(r"127(\.\d+){3}", name) is not None


def _extra(error: ServingError) -> list[tuple[bytes, bytes]]:
    if error.status == 401:
        return [(b"www-authenticate", b"Bearer")]
    return [(b"retry-after", b"1")] if error.status == 503 else []
