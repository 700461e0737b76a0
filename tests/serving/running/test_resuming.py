"""What is found of a run whose process was killed, at moments that no signal hits reliably."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph

from tokenweir.models.chat import chat_model
from tokenweir.serving.log.sqlite import SqliteLog
from tokenweir.serving.log.wal import WalKeeper
from tokenweir.serving.running.checkpoints import SqliteCheckpoints
from tokenweir.serving.running.configs import config_of
from tokenweir.serving.running.execution import Executor
from tokenweir.serving.running.items import items_in_memory
from tokenweir.serving.running.records import Assistant, Run, RunRequest
from tokenweir.serving.running.resuming import progress_of
from tokenweir.serving.running.saver_thread import SaverThread
from tokenweir.serving.running.timing import Timing
from tokenweir.testing import Provider


def talk() -> Any:
    """A graph in which two nodes speak, one after the other."""
    model = chat_model("openai:gpt-4o-mini")

    async def say(state: MessagesState, config: RunnableConfig) -> dict[str, list[AIMessage]]:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    builder: Any = StateGraph(MessagesState).add_sequence([("one", say), ("two", say)])
    return builder.add_edge(START, "one").compile()


def asked(durability: str) -> Run:
    request = RunRequest(
        graph="talk", input={"messages": [{"role": "user", "content": "x"}]}, durability=durability
    )
    return Run(id="run", thread_id="thread", request=request, assistant_id="a", attempt=1)


ASSISTANT = Assistant(id="a", graph="talk")
TIMING = Timing().claimed("talk", 1, 0.0)


@pytest.fixture
def at_the_provider(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in provider.environ.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("at_the_provider")
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_run_of_which_only_the_end_is_missing(durability: str, tmp_path: Path) -> None:
    """Killed between its last checkpoint and its end, it is over, and all that it said stands."""
    run = asked(durability)
    log = SqliteLog(tmp_path / "events.sqlite")
    async with aiosqlite.connect(tmp_path / "checkpoints.sqlite") as connection:
        wal = WalKeeper(tmp_path / "checkpoints.sqlite")
        thread = SaverThread(tmp_path / "checkpoints.sqlite")
        saver = SqliteCheckpoints(connection, thread, wal)
        await saver.setup()
        executor = Executor({"talk": talk()}, log, saver, items_in_memory())
        outcome = await executor.execute(run, ASSISTANT, await log.writer(run.id, 1), TIMING)
        assert outcome.status == "success"
        await log.close()
        log = SqliteLog(tmp_path / "events.sqlite")
        run.attempt = 2
        writer = await log.writer(run.id, run.attempt)
        graph, config = executor.graphs["talk"], config_of(run, ASSISTANT)
        progress = await progress_of(run, graph, config, log, writer.kept)
        await log.close()
        await thread.close()
        await wal.close()
    assert writer.kept > 2
    assert progress.over
    assert progress.void == []


@pytest.mark.usefixtures("at_the_provider")
@pytest.mark.parametrize(("checkpoints", "void"), [(1, 2), (2, 1), (3, 0)])
async def test_a_run_killed_before_a_steps_checkpoint(
    checkpoints: int, void: int, tmp_path: Path
) -> None:
    """A step whose tasks have ended is not the run's end: it goes on from there."""
    run = asked("sync")
    log = SqliteLog(tmp_path / "events.sqlite")
    async with aiosqlite.connect(tmp_path / "checkpoints.sqlite") as connection:
        wal = WalKeeper(tmp_path / "checkpoints.sqlite")
        thread = SaverThread(tmp_path / "checkpoints.sqlite")
        saver = SqliteCheckpoints(connection, thread, wal)
        await saver.setup()
        executor = Executor({"talk": talk()}, log, saver, items_in_memory())
        await executor.execute(run, ASSISTANT, await log.writer(run.id, 1), TIMING)
        await log.close()
        await connection.execute(
            "CREATE TEMP TABLE first AS"
            " SELECT checkpoint_id FROM checkpoints ORDER BY checkpoint_id LIMIT ?",
            (checkpoints,),
        )
        for table in ("checkpoints", "writes"):
            await connection.execute(
                f"DELETE FROM {table} WHERE checkpoint_id NOT IN (SELECT checkpoint_id FROM first)"
            )
        await connection.commit()
        log = SqliteLog(tmp_path / "events.sqlite")
        run.attempt = 2
        writer = await log.writer(run.id, run.attempt)
        executor = Executor({"talk": talk()}, log, saver, items_in_memory())
        graph, config = executor.graphs["talk"], config_of(run, ASSISTANT)
        progress = await progress_of(run, graph, config, log, writer.kept)
        assert not progress.over
        assert not progress.fresh
        assert len(progress.void) == void
        outcome = await executor.execute(run, ASSISTANT, writer, TIMING)
        await log.close()
        await thread.close()
        await wal.close()
    assert outcome.status == "success"
    assert len(outcome.values["messages"]) == 3
