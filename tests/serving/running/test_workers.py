"""Several workers over one store: each run is one worker's, whoever asks for what."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph

from tests.waiting import pause
from tokenweir.nodes.node import node
from tokenweir.serving.log.sqlite import SqliteLog
from tokenweir.serving.problems import Limits, NotFoundError
from tokenweir.serving.running.data_folder import data_folder
from tokenweir.serving.running.home import Home, in_memory
from tokenweir.serving.running.records import RunRequest
from tokenweir.serving.running.runs import Runs

LIMITS = Limits(drain_seconds=0.01)


class State(TypedDict, total=False):
    """What was said."""

    said: str


class Stage:
    """A graph of one node that waits, and knows how many of it run at once."""

    def __init__(self) -> None:
        self.running = self.most = self.begun = 0
        self.go_on = asyncio.Event()
        self.waits = asyncio.Semaphore(0)

        @node
        async def say(state: State) -> State:
            self.running += 1
            self.begun += 1
            self.most = max(self.most, self.running)
            try:
                get_stream_writer()(f"begins {self.begun}")
                self.waits.release()
                await self.go_on.wait()
                get_stream_writer()("ends")
                return {"said": "all"}
            finally:
                self.running -= 1

        self.graphs: dict[str, Any] = {
            "graph": StateGraph(State).add_node("say", say).add_edge(START, "say").compile()
        }


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture(params=["memory", "folder"])
async def home(request: pytest.FixtureRequest, tmp_path: Path, stage: Stage) -> AsyncIterator[Home]:
    opened = in_memory if request.param == "memory" else data_folder(tmp_path, stage.graphs)
    async with opened() as home:
        yield home


def asked() -> RunRequest:
    return RunRequest(graph="graph", input={"said": ""}, modes=["custom"])


async def kinds(runs: Runs, run_id: str) -> list[str]:
    return [event.kind async for event in runs.follow(run_id)]


async def test_one_node_of_a_thread_at_a_time(home: Home, stage: Stage) -> None:
    """Two workers take the runs of a thread in turns, and each run has one end."""
    async with Runs(stage.graphs, home, LIMITS) as one, Runs(stage.graphs, home, LIMITS) as two:
        started = [await runs.start(asked(), thread_id="thread") for runs in (one, two) * 5]
        stage.go_on.set()
        for run in started:
            assert (await asyncio.wait_for(two.wait(run.id), 60)).status == "success"
            assert await kinds(one, run.id) == ["metadata", "custom", "custom", "end"]
    assert (stage.most, stage.begun) == (1, 10)


async def test_cancelling_another_workers_run(home: Home, stage: Stage) -> None:
    """Whoever is asked, the worker that holds the run stops it."""
    async with Runs(stage.graphs, home, LIMITS) as one, Runs(stage.graphs, home, LIMITS) as two:
        for runs in (one, two):
            run = await one.start(asked())
            await asyncio.wait_for(stage.waits.acquire(), 60)
            await asyncio.wait_for(runs.cancel(run.id, wait=True), 60)
            assert (await runs.get(run.id)).status == "interrupted"
            assert (await kinds(runs, run.id))[-1] == "end"
    assert stage.running == 0


async def test_a_worker_that_lost_its_run(home: Home, stage: Stage) -> None:
    """It is taken for dead and is not: the run is another one's, and what it said before is void or
    said again, never both; it stops its nodes, and writes nothing more."""
    async with Runs(stage.graphs, home, LIMITS) as zombie:
        run = await zombie.start(asked())
        await asyncio.wait_for(stage.waits.acquire(), 60)
        async with Runs(stage.graphs, home, LIMITS) as living:
            zombie.worker.stopping = True  # it is asleep: it claims nothing
            await home.store.leave(zombie.worker.name)
            await asyncio.wait_for(stage.waits.acquire(), 60)
            while stage.running > 1:
                await asyncio.sleep(0)
            stage.go_on.set()
            assert (await asyncio.wait_for(living.wait(run.id), 60)).status == "success"
            events = [event async for event in living.follow(run.id)]
    attempts = [event.value["attempt"] for event in events if event.kind == "metadata"]
    assert attempts == [1, 2]
    said = [event.value for event in events if event.kind == "custom"]
    assert said == ["begins 1", "begins 2", "ends"]
    assert [event.kind for event in events].count("end") == 1


async def test_a_worker_that_takes_its_own_run_again(home: Home, stage: Stage) -> None:
    """Taken for dead, it claims its run anew; what it did under the old claim is refused."""
    async with Runs(stage.graphs, home, LIMITS) as runs:
        run = await runs.start(asked())
        await asyncio.wait_for(stage.waits.acquire(), 60)
        await home.store.leave(runs.worker.name)
        await asyncio.wait_for(stage.waits.acquire(), 60)
        while stage.running > 1:
            await asyncio.sleep(0)
        await asyncio.wait_for(runs.cancel(run.id, wait=True), 60)
        assert await kinds(runs, run.id) == [*["metadata", "custom"] * 2, "end"]
    assert (stage.running, runs.worker.active) == (0, 0)


async def test_losing_a_run_of_parallel_nodes_is_no_error(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """What LangGraph tells of its nodes when they are cancelled is for nobody then. It raised in a
    callback, for which asyncio logged the whole task, with what clients have given."""
    go_on, begun = asyncio.Event(), asyncio.Semaphore(0)

    @node
    async def wait(state: State) -> State:
        begun.release()
        await go_on.wait()
        return {}

    builder: Any = StateGraph(State)
    for name in ("one", "two", "three"):
        builder.add_node(name, wait).add_edge(START, name)
    graphs = {"graph": builder.compile()}
    request = RunRequest(graph="graph", input={"said": ""}, modes=["tasks"])
    async with Runs(graphs, home, LIMITS) as zombie:
        run = await zombie.start(request)
        for _ in range(3):
            await asyncio.wait_for(begun.acquire(), 60)
        async with Runs(graphs, home, LIMITS) as living:
            zombie.worker.stopping = True
            await home.store.leave(zombie.worker.name)
            for _ in range(3):
                await asyncio.wait_for(begun.acquire(), 60)
            go_on.set()
            assert (await asyncio.wait_for(living.wait(run.id), 60)).status == "success"
    assert "Exception in callback" not in caplog.text


async def test_a_drained_workers_runs_are_anothers(home: Home, stage: Stage) -> None:
    """What a worker does not finish in time when it stops, another one goes on with at once."""
    async with Runs(stage.graphs, home, LIMITS) as living:
        living.worker._limits = Limits(runs=0)
        async with Runs(stage.graphs, home, LIMITS) as leaving:
            run = await leaving.start(asked())
            await asyncio.wait_for(stage.waits.acquire(), 60)
            living.worker._limits = LIMITS
        stage.go_on.set()
        assert (await asyncio.wait_for(home_run(home, run.id), 60)) == "success"


async def home_run(home: Home, run_id: str) -> str:
    """The status of a run when it is over, read again and again."""
    while not (run := await home.store.run(run_id, "")).final:
        await pause(0.01)  # between two looks
    return run.status


async def test_undoing_a_run_that_waits(tmp_path: Path, stage: Stage) -> None:
    """It may be gone before the request for that is on the disk: the client is told of success."""
    async with (
        data_folder(tmp_path, stage.graphs)() as home,
        Runs(stage.graphs, home, LIMITS) as runs,
    ):
        assert isinstance(home.log, SqliteLog)
        await runs.start(asked(), thread_id="thread")
        await asyncio.wait_for(stage.waits.acquire(), 60)
        waiting = await runs.start(asked(), thread_id="thread")
        await home.log.saved()
        other = sqlite3.connect(tmp_path / "events.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        cancelling = asyncio.ensure_future(runs.cancel(waiting.id, wait=True, undo=True))
        while True:  # until it is gone, and that is not on the disk
            await asyncio.sleep(0)
            try:
                await runs.get(waiting.id)
            except NotFoundError:
                break
        other.execute("COMMIT")
        other.close()
        await asyncio.wait_for(cancelling, 60)
        stage.go_on.set()
