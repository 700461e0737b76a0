"""A run's way into the event log, when the log cannot take any more."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph

from tests.waiting import await_until
from tokenweir.nodes.node import node
from tokenweir.serving.log.sqlite import SqliteLog
from tokenweir.serving.running.checkpoints import MemoryCheckpoints
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.local_store import LocalStore
from tokenweir.serving.running.records import RunRequest
from tokenweir.serving.running.runs import Runs


class State(TypedDict):
    """One value."""

    answer: str


async def test_a_full_log_holds_what_comes_and_loses_nothing(tmp_path: Path) -> None:
    """While the disk takes nothing, a run's events wait outside of the log; then all are there."""
    log = SqliteLog(tmp_path / "log.sqlite")
    other = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
    log._file.writing.execute("PRAGMA busy_timeout = 10")
    started, wrote = asyncio.Event(), asyncio.Event()

    @node
    async def write(state: State) -> State:
        await started.wait()
        other.execute("BEGIN IMMEDIATE")
        for number in range(40):
            get_stream_writer()({"number": number, "filling": "x" * (1 << 20)})
        wrote.set()
        return {"answer": "said"}

    builder = StateGraph(State).add_node("write", write).add_edge(START, "write")
    graph: Any = builder.compile()
    home = Home(LocalStore(log), log, MemoryCheckpoints())
    request = RunRequest(graph="graph", input={"answer": ""}, modes=["custom", "messages"])
    async with Runs({"graph": graph}, home) as runs:
        run = await runs.start(request)
        await log.saved()
        started.set()
        await asyncio.wait_for(wrote.wait(), 60)
        await await_until(lambda: log.problem)
        assert log.full
        assert log.size < 20 << 20
        assert not (await runs.get(run.id)).final
        other.execute("COMMIT")
        await asyncio.wait_for(runs.wait(run.id), 60)
        events = [event async for event in runs.follow(run.id) if event.kind == "custom"]
    assert [event.value["number"] for event in events] == list(range(40))
    other.close()
    await log.close()
