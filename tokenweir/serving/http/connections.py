"""Limits what connections may use before they have sent a request: room, time, and bytes.

uvicorn waits for the end of a request's head for ever, and with httptools buffers any amount of it,
although no key was checked yet. This relies on some internals of uvicorn, which a test covers: its
protocols have ``cycle``, the request in progress, with ``response_complete``, and ``app``, which
answers it; they call ``on_response_complete``; ``handle_websocket_upgrade`` passes the connection
to another protocol. httptools' protocol calls ``on_body`` and ``on_headers_complete``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from tokenweir.serving.http.paths import route_path
from tokenweir.serving.http.refusals import answer, body_of
from tokenweir.serving.http.room import Room, address_of

__all__ = ["protocol", "socket_protocol"]

_MOST = 64 << 10
"""The most bytes outside bodies in one piece: a request's head, what is between the chunks of a
body, what follows a body. uvicorn's other parser, h11, has the same limit."""


_REFUSED = 5.0
"""Seconds that a connection without room has to send the request that is refused."""


def protocol(seconds: float, room: Room) -> type[asyncio.Protocol]:
    """uvicorn's protocol with limits, for its option ``http``.

    Args:
        seconds: How long the head of a request may take from its first byte.
        room: Decides which connections are served; others are answered 503.
    """
    base: Any = AutoHTTPProtocol

    class Careful(base):  # type: ignore[misc]
        """Closes connections that take too long, or do not send a request."""

        _extra = 0
        _upgraded = False
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            enters = room.enter(self, address_of(transport))
            if not enters:
                self.app = _refuse
            self._arm(self.timeout_keep_alive if enters else _REFUSED)  # until the first byte

        def connection_lost(self, exc: Exception | None) -> None:
            room.leave(self)
            self._disarm()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            begins = self._idle() and not self._extra
            self._extra += len(data)
            super().data_received(data)
            if self._upgraded or self.transport.is_closing():
                return
            if not self._idle():
                room.work(self)
            if self.cycle is not before or not self._extra:
                self._disarm()
            elif begins:
                self._arm(seconds)
            if self._extra > _MOST and hasattr(self, "parser"):
                self.logger.warning("The head of a request, or data around its body, is too large.")
                self.transport.abort()

        def handle_websocket_upgrade(self, *event: Any) -> None:
            self._upgraded = True
            self._disarm()
            if self.app is _refuse:
                self.transport.abort()
                return
            super().handle_websocket_upgrade(*event)
            # From here on, the WebSocket's protocol owns the connection, and reports its loss.
            room.work(self)
            self.transport.get_protocol().on_lost = lambda: room.leave(self)

        def on_headers_complete(self) -> None:
            self._extra = 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._extra = 0
            super().on_body(body)

        def on_response_complete(self) -> None:
            self._extra = 0
            super().on_response_complete()
            if self._idle():
                room.rest(self)

        def drop(self) -> None:
            self.transport.abort()

        def _idle(self) -> bool:
            return self.cycle is None or bool(self.cycle.response_complete)

        def _arm(self, delay: float) -> None:
            self._disarm()
            self._deadline = self.loop.call_later(delay, self._late)

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _late(self) -> None:
            if self._idle():
                self.transport.close()

    return Careful


def socket_protocol() -> type[asyncio.Protocol] | None:
    """uvicorn's WebSocket protocol with a hook, for option ``ws``; None without ``websockets``."""
    try:
        from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
    except ImportError:
        return None
    base: Any = WebSocketsSansIOProtocol

    class Careful(base):  # type: ignore[misc]
        """Calls ``on_lost`` when its connection is lost."""

        on_lost: Callable[[], None] | None = None

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self.on_lost is not None:
                self.on_lost()

    return Careful


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """The application for connections without room."""
    said = "too many connections, in all or from this address; try again in a moment"
    headers = [(b"retry-after", b"1"), (b"connection", b"close")]
    code = "server_overloaded"
    await answer(send, 503, body_of(route_path(scope), 503, said, code=code), headers)
