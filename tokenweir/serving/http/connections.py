"""What a connection may take before it has made a request: time, and bytes.

uvicorn waits for the end of a request's head for ever, and with httptools keeps as much of it as is
sent. Nobody has shown a key by then. What is assumed of uvicorn's insides, with a test: its
protocols have ``cycle``, the request that is being answered, with ``response_complete``; httptools'
calls ``on_body`` and ``on_headers_complete``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

__all__ = ["protocol"]

_MOST = 64 << 10
"""Bytes of a request that are not its body, in one piece: its head, what is between the chunks of
a body, what follows a body. As much as uvicorn's other parser, h11, takes."""


def protocol(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, for its option ``http``.

    Args:
        seconds: How long a head may take from its first byte.
    """
    base: Any = AutoHTTPProtocol

    class Careful(base):  # type: ignore[misc]
        """Closes connections that take too long, or send what is no request."""

        _extra = 0
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._arm(self.timeout_keep_alive)  # nothing comes at all

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            begins = self._idle() and not self._extra
            self._extra += len(data)
            super().data_received(data)
            if self.transport.is_closing():
                return
            if self.cycle is not before or not self._extra:
                self._disarm()
            elif begins:
                self._arm(seconds)
            if self._extra > _MOST and hasattr(self, "parser"):
                self.logger.warning("A request's head, or what is around its body, is too large.")
                self.transport.abort()

        def on_headers_complete(self) -> None:
            self._extra = 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._extra = 0
            super().on_body(body)

        def on_response_complete(self) -> None:
            self._extra = 0
            super().on_response_complete()

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
