"""A server for answers that no HTTP server would give: each connection is a function's to write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

__all__ = ["Answer", "bare_server"]

Answer: TypeAlias = Callable[
    [bytes, bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]
]
"""Gets the head and the body of a connection's first request, and the rest of the connection."""


@asynccontextmanager
async def bare_server(answer: Answer) -> AsyncIterator[str]:
    """Serve each connection by ``answer``, and close it when that returns; gives the base URL.

    At the end all connections are closed: one that was left to the event loop would be closed when
    its client's end arrives, perhaps in the loop's last iteration, and its socket not at all.
    """
    connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections[writer] = task
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await answer(head, await reader.readexactly(length), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for writer, task in connections.items():
            task.cancel()
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await asyncio.gather(*connections.values(), return_exceptions=True)
