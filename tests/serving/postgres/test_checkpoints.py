"""Checkpoints in Postgres: LangGraph's contract, and only who holds a run writes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from psycopg.errors import DivisionByZero

from tests.serving.postgres.conftest import a_hold
from tokenweir.serving.postgres.checkpoints import PostgresCheckpoints
from tokenweir.serving.postgres.database import Database
from tokenweir.serving.problems import LostError
from tokenweir.serving.running.home import Home


async def test_langgraphs_contract(home: Home) -> None:
    """LangGraph's own conformance suite passes, with all that savers may leave out."""

    @checkpointer_test(name="PostgresCheckpoints")
    async def saver() -> AsyncIterator[BaseCheckpointSaver[str]]:
        assert isinstance(home.checkpoints, PostgresCheckpoints)
        yield home.checkpoints

    report = await validate(saver)
    failed = {name: result.failures for name, result in report.results.items() if not result.passed}
    assert not failed
    assert report.conformance_level() == "FULL"


async def test_no_connection_stays_in_pipeline_mode(database_url: str) -> None:
    """Wherever a write is cancelled, the next user of its connection gets its own errors."""
    database = Database(database_url)
    await database.open()

    async def write() -> None:
        async with (
            database.connection() as connection,
            connection.pipeline(),
            connection.transaction(),
        ):
            await connection.execute("select pg_sleep(0.001)")

    async def fail() -> None:
        async with database.connection() as connection:
            with pytest.raises(DivisionByZero):
                await connection.execute("select 1 / 0")

    for turns in range(30):
        writing = asyncio.ensure_future(write())
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])
        await asyncio.gather(fail(), fail(), fail())
    await database.close()


async def test_a_zombie_saves_nothing(home: Home) -> None:
    """Under an epoch that is over neither a checkpoint nor writes are saved; under the new one both
    are."""
    said = list[tuple[str, int]]()

    async def say(run_id: str, epoch: int) -> None:
        said.append((run_id, epoch))

    saver = home.checkpoints.behind(say)
    old = await a_hold(home, "a")
    await home.store.leave("a")
    new, run = await a_hold(home, "b"), old.run

    async def save(epoch: int, channel: str) -> None:
        metadata = {"run_id": run.id, "run_attempt": epoch}
        place = {"thread_id": "thread", "checkpoint_ns": ""}
        config = await saver.aput(
            {"configurable": place, "metadata": metadata},
            empty_checkpoint(),
            {"source": "loop", "step": 1, "parents": {}},
            {},
        )
        config["metadata"] = metadata
        await saver.aput_writes(config, [(channel, 1)], "task")

    with pytest.raises(LostError):
        await save(old.epoch, "zombie")
    newest: RunnableConfig = {"configurable": {"thread_id": "thread"}}
    assert await saver.aget_tuple(newest) is None
    await save(new.epoch, "held")
    found = await saver.aget_tuple(newest)
    assert found is not None
    assert found.pending_writes == [("task", "held", 1)]
    found.config["metadata"] = {"run_id": run.id, "run_attempt": old.epoch}
    with pytest.raises(LostError):
        await saver.aput_writes(found.config, [("zombie", 1)], "other")
    again = await saver.aget_tuple(newest)
    assert again is not None
    assert again.pending_writes == [("task", "held", 1)]
    assert said == [(run.id, 1), (run.id, 2), (run.id, 2), (run.id, 1)]
