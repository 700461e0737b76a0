"""Claims of runs that others have held."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.serving.postgres.conftest import a_hold
from tokenweir.serving.postgres.claims import END_STOPPED
from tokenweir.serving.postgres.database import APPLICATION
from tokenweir.serving.postgres.home import postgres_home
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.store import Hold


async def taken(home: Home, server: str) -> Hold:
    await home.store.heartbeat(server)
    (hold,) = await home.store.claim(server, 1)
    return hold


async def test_how_long_nobody_held_a_run(home: Home, other: Home, database_url: str) -> None:
    """A claim says for how long the run has waited: since it was due, since it was given back, or
    since its server gave the last sign of life, which is a lease before its lease is over."""
    first = await a_hold(home, "a")
    assert first.waited is not None
    assert 0 <= first.waited < 60
    await home.store.release(first)
    second = await taken(other, "b")
    assert second.epoch == 2
    assert second.waited is not None
    assert -1 < second.waited < 60  # two clocks
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(
            "update tokenweir_servers set lease_until = now() - interval '90 s' where id = 'b'"
        )
    third = await taken(home, "a")
    assert third.waited is not None
    assert 100 <= third.waited < 160
    await home.store.request_cancel(third.run.id, "")
    await home.store.release(third)
    assert (await taken(other, "c")).waited is None


async def test_a_claim_of_which_the_answer_was_lost(home: Home, database_url: str) -> None:
    """A run that a living server holds and does not know of, as its connection broke in the moment
    of the claim, is given back after a lease; one that it is executing is not."""
    lost, known = await a_hold(home, "a"), await a_hold(home, "a")
    await home.log.writer(known.run.id, known.epoch)
    await home.store.heartbeat("a")
    assert await home.store.claim("b", 2) == []
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(
            "update tokenweir_runs set updated_at = (now() - interval '90 s')::text"
        )
    await home.store.heartbeat("a")
    again = await taken(home, "b")
    assert (again.run.id, again.epoch) == (lost.run.id, 2)
    assert await home.store.claim("b", 1) == []


@pytest.mark.parametrize("taken_for", ["active", "idle in transaction"])
async def test_a_stopped_server_locks_nothing(database_url: str, taken_for: str) -> None:
    """A run is taken over also from a server that was stopped while it wrote a checkpoint.

    Statements are sent one after another there, without waiting for answers. Between two of them
    Postgres takes a transaction for busy, or for idle, but without the timeout of those that are:
    it would wait for the rest for ever."""
    async with (
        postgres_home(database_url, {}, lease=1.0)() as home,
        postgres_home(database_url, {}, lease=1.0)() as other,
        await psycopg.AsyncConnection.connect(
            database_url, autocommit=True, application_name="tokenweir"
        ) as stopped,
    ):
        hold = await a_hold(home, "a")
        await stopped.execute("set idle_in_transaction_session_timeout = '750ms'")
        pipeline = stopped.pipeline()
        sent = await pipeline.__aenter__()
        await stopped.execute("begin")
        found = await stopped.execute("select tokenweir_hold(%s, %s)", (hold.run.id, hold.epoch))
        await found.fetchone()
        if taken_for != "active":  # the last word before the stop asked for answers alone
            await sent.sync()
            stopped.pgconn.send_flush_request()
            while stopped.pgconn.flush():
                await asyncio.sleep(0)
        async with await psycopg.AsyncConnection.connect(database_url) as look:
            states = await look.execute(
                "select state from pg_stat_activity where pid = %s", (stopped.info.backend_pid,)
            )
            assert await states.fetchone() == (taken_for,)
        await home.store.leave("a")
        await other.store.heartbeat("b")
        taken: list[Hold] = []

        async def is_taken() -> None:
            while not taken:
                taken.extend(await other.store.claim("b", 1))

        await asyncio.wait_for(is_taken(), 60)
        assert taken[0].epoch == 2
        with pytest.raises(psycopg.OperationalError):
            await pipeline.__aexit__(None, None, None)


async def test_a_server_that_is_notified_stays_connected(database_url: str) -> None:
    """Claims end transactions of suspended processes. One that Postgres begins for a notification
    that it passes on is not such a one, however long its connection has listened."""
    about: dict[str, Any] = {"autocommit": True, "application_name": APPLICATION}
    connect = psycopg.AsyncConnection.connect
    async with (
        await connect(database_url, **about) as listening,
        await connect(database_url, autocommit=True) as looking,
        await connect(database_url, autocommit=True) as telling,
    ):
        await listening.execute("listen tokenweir")

        async def hear() -> None:
            async for _ in listening.notifies():
                pass

        async def tell() -> None:
            while True:
                await telling.execute("select pg_notify('tokenweir', '')")

        busy = [asyncio.ensure_future(hear()), asyncio.ensure_future(tell())]
        for _ in range(6000):
            await looking.execute(END_STOPPED, (APPLICATION, timedelta(0)))
            assert not any(task.done() for task in busy)
        for task in busy:
            task.cancel()
        await asyncio.wait(busy)
