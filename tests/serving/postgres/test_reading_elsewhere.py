"""Readers at another server than the one that executes the run."""

from __future__ import annotations

import asyncio

import psycopg

from tests.serving.postgres.conftest import a_hold
from tests.waiting import await_until
from tokenweir.serving.log.events import Envelope, Event
from tokenweir.serving.postgres.home import postgres_home
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.store import Outcome


async def test_tokens_come_before_they_are_kept(home: Home, other: Home) -> None:
    """A token is read elsewhere while Postgres does not have it yet; and none is missed, also not
    those that are too large to be sent."""
    hold = await a_hold(home)
    run = hold.run
    writer = await home.log.writer(run.id, hold.epoch)
    read = list[Event]()
    came = asyncio.Event()

    async def follow() -> None:
        async for events in other.log.follow(run.id):
            read.extend(events)
            came.set()

    reading = asyncio.ensure_future(follow())
    writer.append("metadata", b"{}", durable=True)
    envelope = Envelope(b'[{"content":', b"},{}]")
    early, sent = 0, 1
    for number in range(40):
        size = 20_000 if number % 10 == 7 else 10
        event = writer.append("messages", b'"%s"' % (b"x" * size), envelope=envelope)
        sent += 1
        while len(read) < sent:
            came.clear()
            await asyncio.wait_for(came.wait(), 60)
        early += await other.log.last_id(run.id) < event.id
    assert early
    assert await home.store.finish(hold, writer, Outcome("success"))
    await asyncio.wait_for(reading, 60)
    again = [event async for events in other.log.follow(run.id) for event in events]
    assert read == again
    assert sum(event.size > 20_000 for event in read) == 4


async def test_more_at_once_than_is_sent(home: Home, other: Home) -> None:
    """What went out of the writer's memory before it was sent is read from Postgres."""
    hold = await a_hold(home)
    writer = await home.log.writer(hold.run.id, hold.epoch)
    writer.append("metadata", b"{}", durable=True)
    read = list[Event]()
    came = asyncio.Event()

    async def follow() -> None:
        async for events in other.log.follow(hold.run.id):
            read.extend(events)
            came.set()

    reading = asyncio.ensure_future(follow())
    await asyncio.wait_for(came.wait(), 60)
    for number in range(3000):
        writer.append("custom", b"%d" % number, durable=number % 100 == 0)
        if number % 300 == 0:
            await writer.saved()
    assert await home.store.finish(hold, writer, Outcome("success"))
    await asyncio.wait_for(reading, 60)
    assert [event.data for event in read[1:-1]] == [b"%d" % number for number in range(3000)]


async def read_all(home: Home, run: str, into: list[Event]) -> None:
    """Follow a run to its end."""
    async for events in home.log.follow(run):
        into.extend(events)


async def test_many_runs_at_many_servers(home: Home, other: Home, database_url: str) -> None:
    """Runs share what is sent; a server that begins to read in the middle, one whose connection
    broke, and texts around which there is too much to be sent miss nothing."""
    holds = [await a_hold(home) for _ in range(10)]
    writers = [await home.log.writer(hold.run.id, hold.epoch) for hold in holds]
    for writer in writers:
        writer.append("metadata", b"{}", durable=True)
    async with postgres_home(database_url, {})() as third:
        read = [[list[Event]() for _ in holds] for _ in (other, third)]

        def follow(reading: Home, into: list[list[Event]]) -> list[asyncio.Task[None]]:
            return [
                asyncio.ensure_future(read_all(reading, hold.run.id, each))
                for hold, each in zip(holds, into, strict=True)
            ]

        def envelope(number: int) -> Envelope:
            wide = b"x" * (9000 if number == 20 else 200)
            return Envelope(b'[{"content":', b'},{"wide":"%s"}]' % wide)

        readers = follow(other, read[0])
        around = [envelope(0)] * len(writers)
        for number in range(60):
            if begins := number % 10 == 0:
                around = [envelope(number) for _ in writers]
            for writer, shared in zip(writers, around, strict=True):
                body = b'"%d %s"' % (number, b"x" * (12_000 if number == 35 else 5))
                writer.append("messages", body, envelope=shared, durable=begins)
            if number == 25:
                readers += follow(third, read[1])
            if number == 45:
                async with await psycopg.AsyncConnection.connect(database_url) as connection:
                    await connection.execute(
                        "select pg_terminate_backend(pid) from pg_stat_activity "
                        "where query like 'listen %' and datname = current_database()"
                    )
            if number not in (45, 46):  # meanwhile nobody hears anything
                there = read if number > 25 else read[:1]
                await await_until(
                    lambda there=there, number=number: all(  # type: ignore[misc]
                        len(each) == number + 2 for some in there for each in some
                    )
                )
        for hold, writer in zip(holds, writers, strict=True):
            assert await home.store.finish(hold, writer, Outcome("success"))
        await asyncio.wait_for(asyncio.gather(*readers), 60)
        for place, hold in enumerate(holds):
            kept = list[Event]()
            await read_all(home, hold.run.id, kept)
            assert [event.data for event in kept[1:-1]] == [
                envelope(number // 10 * 10).around(
                    b'"%d %s"' % (number, b"x" * (12_000 if number == 35 else 5))
                )
                for number in range(60)
            ]
            assert read[0][place] == kept
            assert read[1][place] == kept
