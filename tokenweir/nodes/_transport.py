"""HTTP clients that a model can keep for the whole process.

An HTTP client is bound to the event loop in which its connections were opened. A model made at
module level outlives loops: ``asyncio.run`` makes a new one each time, each thread may have its
own, a notebook has one that never ends. ``PerLoopClient`` is one client for all of them.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import openai

from tokenweir.streaming.backpressure import current_gate

__all__ = ["PerLoopClient", "leave_when_the_reader_goes"]


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
        self._lock = threading.Lock()
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Any, Any]] = (
            WeakKeyDictionary()
        )

    async def send(self, request: Any, **kwargs: Any) -> Any:
        """Send by the client of the running loop."""
        loop = asyncio.get_running_loop()
        kept = self._by_loop.get(loop)
        if kept is None:
            kept = await self._open(loop)
        return await kept[0].send(request, **kwargs)

    async def _open(self, loop: asyncio.AbstractEventLoop) -> tuple[Any, Any]:
        client = self._make()
        keeper = _keep(client)
        # Loops close the async generators that were started in them before they end: this one
        # closes the client, while its loop can still do so.
        await keeper.__anext__()
        with self._lock:
            for dead in [other for other in self._by_loop if other.is_closed()]:
                # Its connections refer to the loop, so it would never be collected by itself.
                del self._by_loop[dead]
            return self._by_loop.setdefault(loop, (client, keeper))

    async def aclose(self) -> None:
        """Close the running loop's client; it is made anew if it is used again."""
        with self._lock:
            kept = self._by_loop.pop(asyncio.get_running_loop(), None)
        if kept is not None:
            await kept[1].aclose()


async def _keep(client: Any) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await client.aclose()


def leave_when_the_reader_goes(client: Any) -> Any:
    """Have a sync client's calls end when the reader of the run that they belong to has gone.

    A thread that waits for a provider's next byte cannot be cancelled; shutting its socket down
    wakes it.
    """

    def on_response(response: Any) -> None:
        gate = current_gate.get()
        stream = response.extensions.get("network_stream")
        if gate is None or stream is None:
            return
        raw = stream.get_extra_info("socket")

        def abort() -> None:
            with suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)

        # Keyed by the call's gate and thread: a thread makes one call at a time.
        gate.sink.on_leave((id(gate), threading.get_ident()), abort)

    hooks = client.event_hooks
    client.event_hooks = {**hooks, "response": [*hooks.get("response", ()), on_response]}
    return client
