"""The scripted server, in a separate process: ``python -m benchmarks.server``.

It prints its port, and ends when its standard input ends. It answers any POST with the script that
it finds in the body. Each token is a separate write, as from a provider. It is not meant for tests:
it parses as little as possible.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time

from benchmarks.script import Script
from benchmarks.wire import HEAD, NO_TIME, Frames, frames

__all__: list[str] = []

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One client's connection, which may be used for many replies, one after the other."""

    _transport: asyncio.Transport

    def __init__(self, wheels: dict[int, Wheel]) -> None:
        self._wheels = wheels
        self._received = bytearray()
        self._frames: Frames | None = None
        self._sent = 0
        self._clock = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._frames = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            body = bytes(self._received[head + 4 : end])
            del self._received[:end]
            self._answer(Script.found_in(body).turn(body))

    def _answer(self, script: Script) -> None:
        reply = frames(script)
        write = self._transport.write
        write(HEAD + reply.opening)
        if script.every:
            self._frames, self._sent = reply, 0
            self._clock = script.kind == "clock"
            wheel = self._wheels.get(script.every)
            if wheel is None:
                wheel = self._wheels[script.every] = Wheel(script.every)
            wheel.add(self)
            return
        for token in reply.tokens:
            write(token)
        if reply.closing:
            write(reply.closing)

    def step(self) -> bool:
        """Send one more token; return False if none is left."""
        reply = self._frames
        if reply is None:
            return False
        token = reply.tokens[self._sent]
        if self._clock:
            token = token.replace(NO_TIME, b"@%017.6f" % time.monotonic())
        self._transport.write(token)
        self._sent += 1
        if self._sent < len(reply.tokens):
            return True
        self._frames = None
        if reply.closing:
            self._transport.write(reply.closing)
        return False


class Wheel:
    """All paced streams of one rate, on one timer: a slot per millisecond of the period.

    New streams take slots far from each other, so that tokens are sent evenly.
    """

    def __init__(self, every: int) -> None:
        self._slots: list[list[Connection]] = [[] for _ in range(every)]
        self._added = 0
        self._at = 0
        self._due = 0.0
        self._running = 0
        self._loop = asyncio.get_running_loop()

    def add(self, stream: Connection) -> None:
        """Send this stream's tokens from its next turn on."""
        # 0.618: the golden section, which spreads any number of streams.
        self._slots[int(self._added * 0.618034 * len(self._slots)) % len(self._slots)].append(
            stream
        )
        self._added += 1
        self._running += 1
        if self._running == 1:
            self._due = self._loop.time()
            self._tick()

    def _tick(self) -> None:
        now = self._loop.time()
        while self._due <= now:
            slot = self._slots[self._at]
            if slot:
                left = [stream for stream in slot if stream.step()]
                self._running -= len(slot) - len(left)
                slot[:] = left
            self._at = (self._at + 1) % len(self._slots)
            self._due += 0.001
        if self._running:
            self._loop.call_at(self._due, self._tick)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    wheels: dict[int, Wheel] = {}
    server = await loop.create_server(lambda: Connection(wheels), "127.0.0.1", 0, backlog=1024)
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await over.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
