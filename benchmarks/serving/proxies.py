"""Proxies that only forward bytes: ``python -m benchmarks.serving.proxies aiohttp|asyncio PORT``.

``aiohttp`` is a usual proxy in Python; ``asyncio`` is the minimum, and does not parse HTTP at all.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, cast
from urllib.parse import urlsplit

import uvicorn

from benchmarks.ways.base import optional

__all__: list[str] = []

_UPSTREAM = os.environ.get("BENCH_UPSTREAM", "")


async def _serve_aiohttp(port: int) -> None:
    aiohttp, web = optional("aiohttp"), optional("aiohttp.web")
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def forward(request: Any) -> Any:
        body = await request.read()
        async with session.post(_UPSTREAM + request.path, data=body) as answer:
            response = web.StreamResponse(headers={"content-type": answer.content_type})
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
        return response

    app = web.Application()
    app.router.add_post("/{path:.*}", forward)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=2048).start()


class _Side(asyncio.Protocol):
    """One of the two connections of a pair, which forwards its bytes to the other."""

    other: asyncio.Transport | None = None
    early = b""
    """Bytes that arrived before the other side was connected."""

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early += data
        else:
            self.other.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


class _Accepted(_Side):
    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        side = _Side()
        place = urlsplit(_UPSTREAM)
        side.other = self._transport
        loop = asyncio.get_running_loop()
        self.other, _ = await loop.create_connection(
            lambda: side, str(place.hostname), place.port or 80
        )
        self.other.write(self.early)


async def _serve_asyncio(port: int) -> None:
    await asyncio.get_running_loop().create_server(_Accepted, "127.0.0.1", port, backlog=2048)


async def _main(kind: str, port: int) -> None:
    await {"aiohttp": _serve_aiohttp, "asyncio": _serve_asyncio}[kind](port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    # The loop that uvicorn gives the other servers.
    loop = (uvicorn.Config("").get_loop_factory() or asyncio.new_event_loop)()
    loop.run_until_complete(_main(sys.argv[1], int(sys.argv[2])))
