"""Streams whose parts are pushed: the same bytes as pulled ones, whatever their clients do.

An event log, real connections of uvicorn, and clients that read or do not, in one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tests.waiting import await_until, pause
from tokenweir.serving.http.abortable import abortable
from tokenweir.serving.http.event_parts import EventParts
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.log.events import END, PAGE, Event
from tokenweir.serving.log.memory import MemoryLog
from tokenweir.serving.log.sqlite import SqliteLog
from tokenweir.serving.problems import Limits

LocalLog: TypeAlias = MemoryLog | SqliteLog
PATIENT = Limits(heartbeat_seconds=60, slow_seconds=60)
TEXT = b"x" * 1000


def lines(events: list[Event]) -> bytes:
    """A stateless encoding: any difference is of the streams."""
    if any(event.data == b"untold" for event in events):
        events = [event for event in events if event.data != b"untold"]
    return b"".join(b"%d %s\n" % (event.id, event.data) for event in events)


def fussy(events: list[Event]) -> bytes:
    if any(event.data == b"5" for event in events):
        raise ValueError("five is too much")
    return lines(events)


class Counted(EventParts):
    """Knows how often its reader woke."""

    woken = 0

    async def __anext__(self) -> bytes:
        part = await super().__anext__()
        self.woken += 1
        return part


class Client:
    """Reads one stream, part by part, when it is asked to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.close = writer.close
        self.closed = writer.wait_closed

    async def part(self) -> bytes:
        """The next part; b"" at the end. Raises OSError or EOFError if it is cut off."""
        size = int(await asyncio.wait_for(self._reader.readuntil(b"\r\n"), 60), 16)
        return (await self._reader.readexactly(size + 2))[:-2]

    async def rest(self) -> bytes:
        parts = []
        while part := await self.part():
            parts.append(part)
        return b"".join(parts)


class Streams:
    """A server whose path ``/push/run/7`` streams a run from after an event; ``/pull`` as before.

    Attributes:
        parts: Of each stream, in the order in which they were asked for.
        left: Done when a client has left or was dropped, as often as that happens.
    """

    def __init__(self, log: LocalLog) -> None:
        self.log = log
        self.limits = PATIENT
        self.encode = lines
        self.parts: list[Counted] = []
        self.left = asyncio.Semaphore(0)
        self._state = ServerState()
        self._clients: list[Client] = []

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        config = uvicorn.Config(self, lifespan="off", log_config=None, access_log=False)
        config.load()
        listening = socket.create_server(("127.0.0.1", 0))
        # So that a client who does not read is noticed soon; connections inherit it.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self._address = listening.getsockname()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: HttpToolsProtocol(config, self._state, {}), sock=listening
        )
        try:
            yield
        finally:
            server.close()
            for client in self._clients:
                client.close()
            while self._state.tasks:
                await asyncio.wait(set(self._state.tasks))
                await asyncio.sleep(0)  # their callbacks
            await asyncio.gather(*(each.closed() for each in self._clients), return_exceptions=True)
            while self._state.connections:
                await asyncio.sleep(0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        _, how, run, after = scope["path"].split("/")
        parts = Counted(self.log.follow(run, int(after)), self.encode)
        self.parts.append(parts)
        stream = EventStream(parts, self.limits, on_leave=self.left.release)
        del parts
        await (abortable(stream) if how == "push" else stream)(scope, receive, send)

    async def open(self, how: str, after: int = 0) -> Client:
        """A client of the run, when its headers have come."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.connect(self._address)
        reader, writer = await asyncio.open_connection(sock=connection, limit=8192)
        writer.write(b"GET /%s/run/%d HTTP/1.1\r\nhost: x\r\n\r\n" % (how.encode(), after))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        client = Client(reader, writer)
        self._clients.append(client)
        return client

    @property
    def buffered(self) -> int:
        """The most bytes that wait in the server for one client."""
        return max(each.transport.get_write_buffer_size() for each in self._state.connections)


@pytest.fixture(params=["memory", "sqlite"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalLog]:
    log = MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log.sqlite")
    log.open("run")
    yield log
    await log.close()


@pytest.fixture
async def streams(log: LocalLog) -> AsyncIterator[Streams]:
    streams = Streams(log)
    async with streams.served():
        yield streams


async def record(log: LocalLog, count: int, text: bytes = b"") -> None:
    """Write events one by one, some of them untold, some durable, some many in one turn."""
    for number in range(count):
        data = b"untold" if number % 10 == 3 else b"%d %s" % (number, text)
        log.append("run", "messages", data, durable=number % 200 == 50)
        if number % 50 > 5:
            await asyncio.sleep(0)


async def written(log: LocalLog, after: int = 0) -> bytes:
    return lines([event async for events in log.follow("run", after) for event in events])


async def test_pushed_and_pulled_are_equal(streams: Streams) -> None:
    """Readers from the beginning, the middle and the future get the same bytes, pushed or not."""
    log = streams.log
    begins = [("push", 0), ("pull", 0), ("push", 0), ("push", 37)]
    readers = [asyncio.ensure_future((await streams.open(*each)).rest()) for each in begins]
    await record(log, 300)
    begins += [("push", 100), ("pull", 100), ("push", 310), ("push", 0)]
    readers += [asyncio.ensure_future((await streams.open(*each)).rest()) for each in begins[4:]]
    await record(log, 300)
    log.append("run", END, b"{}")
    for (_, after), reader in zip(begins, readers, strict=True):
        assert await reader == await written(log, after)
    # A pushed reader sleeps nearly always; a pulled one wakes for each page, and the machine's
    # speed decides how many events share a page.
    assert streams.parts[0].woken < 10 < streams.parts[1].woken


async def test_many_in_one_turn_are_pushed_in_pages(streams: Streams) -> None:
    """What comes at once is written at once, a page at most, and all of it."""
    client = await streams.open("push")
    streams.log.append("run", "messages", b"first")
    assert await client.part() == b"1 first\n"
    await asyncio.sleep(0)
    for number in range(2 * PAGE + 10):
        streams.log.append("run", "messages", b"%d" % number)
    parts = [await client.part() for _ in range(3)]
    assert [part.count(b"\n") for part in parts] == [PAGE, PAGE, 10]
    streams.log.append("run", END, b"{}")
    assert b"".join([b"1 first\n", *parts, await client.rest()]) == await written(streams.log)


async def test_who_does_not_read_holds_nobody_up(streams: Streams) -> None:
    """Others go on while little is kept for a client that reads later, and it gets all, once."""
    slow, fast = await streams.open("push"), await streams.open("push")
    read = asyncio.ensure_future(fast.rest())
    for _ in range(10):
        await record(streams.log, 400, TEXT)
        await streams.log.saved()
        assert streams.buffered < 2 * PAGE * len(TEXT)
    last = streams.log.append("run", END, b"{}")
    expected = await written(streams.log)
    assert await asyncio.wait_for(read, 60) == expected
    assert expected.endswith(b"%d {}\n" % last.id)
    assert len(expected) > 3_000_000
    assert await slow.rest() == expected


async def test_who_reads_again_is_pushed_again(streams: Streams) -> None:
    """A client that stopped for a while and caught up is handed what comes, in its order."""
    client = await streams.open("push")
    await record(streams.log, 2000, TEXT)
    found = b""
    while found.count(b"\n") < 1800:
        found += await client.part()
    woken = streams.parts[0].woken
    for _ in range(100):
        streams.log.append("run", "messages", b"token")
        while not found.endswith(b"%d token\n" % await streams.log.last_id("run")):
            found += await client.part()
    assert streams.parts[0].woken - woken < 10
    streams.log.append("run", END, b"{}")
    assert found + await client.rest() == await written(streams.log)


async def test_who_was_dropped_comes_back(streams: Streams) -> None:
    """A client that does not read is dropped at the limit; from its last event on it gets all."""
    streams.limits = Limits(heartbeat_seconds=60, slow_seconds=0.2)
    client = await streams.open("push")
    streams.log.append("run", "messages", b"first")
    found = await client.part()
    await record(streams.log, 2000, TEXT)
    await asyncio.wait_for(streams.left.acquire(), 60)
    with pytest.raises((OSError, EOFError)):
        while True:
            found += await client.part()
    streams.log.append("run", END, b"{}")
    streams.limits = PATIENT
    last = int(found.splitlines()[-1].split()[0])
    again = await streams.open("push", last)
    assert found + await again.rest() == await written(streams.log)


@pytest.mark.parametrize("reads", [True, False])
async def test_who_leaves_is_forgotten(streams: Streams, reads: bool) -> None:
    """When a client leaves, reading or not, nothing of its stream is kept, and the run goes on."""
    client, stays = await streams.open("push"), await streams.open("push")
    read = asyncio.ensure_future(stays.rest())
    if reads:
        gone = asyncio.ensure_future(client.rest())
        await record(streams.log, 100)
        gone.cancel()
    else:
        await record(streams.log, 2000, TEXT)
    client.close()
    await asyncio.wait_for(streams.left.acquire(), 60)
    await record(streams.log, 100)
    parts = weakref.ref(streams.parts.pop(0))
    await await_until(lambda: len(streams._state.tasks) <= 1)
    gc.collect()
    assert parts() is None
    tails: Any = streams.log
    assert len(tails._tails["run"]._sleeping) <= 1
    streams.log.append("run", END, b"{}")
    assert await asyncio.wait_for(read, 60) == await written(streams.log)


async def test_a_record_that_goes_on_elsewhere_is_cut_off(streams: Streams) -> None:
    """A pushed client gets what there is, and no end that looks like one; the run is let be."""
    client = await streams.open("push")
    streams.log.append("run", "messages", b"first")
    assert await client.part() == b"1 first\n"
    await asyncio.sleep(0)
    streams.log.append("run", "messages", b"second")
    assert await client.part() == b"2 second\n"
    streams.log.cut_off()
    with pytest.raises((OSError, EOFError)):
        await client.part()
    assert streams.left.locked()


async def test_silence_is_told_between_pushed_parts(streams: Streams) -> None:
    """A silent stream has heartbeats; what comes then is pushed again, whole and in order."""
    streams.limits = Limits(heartbeat_seconds=0.02, slow_seconds=60)
    client = await streams.open("push")
    for number in range(1, 6):
        assert await client.part() == b": heartbeat\n\n"
        streams.log.append("run", "messages", b"token")
        while (part := await client.part()) == b": heartbeat\n\n":
            pass
        assert part == b"%d token\n" % number
    streams.log.append("run", END, b"{}")
    assert (await client.rest()).replace(b": heartbeat\n\n", b"") == b"6 {}\n"


async def test_heartbeats_and_parts_share_a_client_that_does_not_read(streams: Streams) -> None:
    """Heartbeats that stick, and parts behind them, come once each when the client reads."""
    client = await streams.open("push")
    streams.limits = Limits(heartbeat_seconds=0.01, slow_seconds=60)
    beaten = await streams.open("push")
    read = asyncio.ensure_future(client.rest())
    for _ in range(10):
        await record(streams.log, 100, TEXT)
        await pause(0.03)  # some heartbeats
    streams.log.append("run", END, b"{}")
    expected = await written(streams.log)
    assert (await beaten.rest()).replace(b": heartbeat\n\n", b"") == expected == await read


async def test_an_error_is_the_reader_s_own(streams: Streams) -> None:
    """Who cannot be written for is cut off; the run and its other readers know nothing of it."""
    streams.encode = fussy
    failing = await streams.open("push")
    streams.encode = lines
    client = await streams.open("push")
    for number in range(10):
        streams.log.append("run", "messages", b"%d" % number)
        await client.part()
    with pytest.raises((OSError, EOFError)):
        await failing.rest()
    await asyncio.wait_for(streams.left.acquire(), 60)
    streams.log.append("run", END, b"{}")
    assert await client.rest() == b"11 {}\n"
