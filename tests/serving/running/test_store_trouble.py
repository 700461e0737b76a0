"""Trouble of the store is no run's error and no run's success: the run goes on when it is over."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

import httpx
import pytest
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph

from tests.waiting import await_until
from tokenweir.nodes.node import node
from tokenweir.serving.app import create_app
from tokenweir.serving.running.checkpoints import SqliteCheckpoints
from tokenweir.serving.running.data_folder import data_folder
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.records import Run, RunRequest
from tokenweir.serving.running.runs import Runs


class State(TypedDict, total=False):
    """What the two nodes say."""

    first: str
    second: str


class Trouble:
    """Comes while a run's first node runs, and stays until it is told to go."""

    def __init__(self, folder: Path, how: str) -> None:
        self._how = how
        self._file = folder / "checkpoints.sqlite"
        self._other: sqlite3.Connection | None = None
        self._checkpoints: SqliteCheckpoints

    async def prepare(self, home: Home) -> None:
        """Let SQLite not wait for others: a server does so for a minute."""
        assert isinstance(home.checkpoints, SqliteCheckpoints)
        self._checkpoints = home.checkpoints
        await self._set("PRAGMA busy_timeout = 10")

    async def come(self) -> None:
        self._other = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
        if self._how == "locked":
            self._other.execute("BEGIN IMMEDIATE")
        elif self._how == "unreadable":
            self._other.execute("ALTER TABLE checkpoints RENAME TO away")
        else:
            pages = self._other.execute("PRAGMA page_count").fetchone()[0]
            await self._set(f"PRAGMA max_page_count = {pages}")

    async def go(self) -> None:
        assert self._other is not None
        if self._how == "locked":
            self._other.execute("COMMIT")
        elif self._how == "unreadable":
            self._other.execute("ALTER TABLE away RENAME TO checkpoints")
        else:
            with suppress(ValueError, RuntimeError):  # it was of a connection that is closed
                await self._set("PRAGMA max_page_count = 1000000")
        self._other.close()

    async def _set(self, sql: str) -> None:
        await (await self._checkpoints.conn.execute(sql)).close()
        await self._checkpoints._thread.execute(sql)


@pytest.fixture(params=["locked", "full", "unreadable"])
def trouble(request: pytest.FixtureRequest, tmp_path: Path) -> Trouble:
    return Trouble(tmp_path, request.param)


def graph_of(trouble: Trouble) -> Any:
    """Two nodes; the first one has the trouble come when it runs the first time."""
    came: list[bool] = []

    @node
    async def first(state: State) -> State:
        get_stream_writer()("first")
        if not came:
            came.append(True)
            await trouble.come()
        return {"first": "x" * 100_000}

    @node
    async def second(state: State) -> State:
        get_stream_writer()("second")
        return {"second": "said"}

    builder: Any = StateGraph(State).add_sequence([("first", first), ("second", second)])
    return builder.add_edge(START, "first").compile()


async def put_off(runs: Runs) -> Run:
    """A run that is not over, as the store does not work."""
    asked = RunRequest(graph="graph", input={"first": ""}, modes=["custom", "updates"])
    run = await runs.start(asked, thread_id="thread")
    await await_until(lambda: runs.worker.problem is not None)
    assert not (await runs.get(run.id)).final
    return run


async def check(runs: Runs, run: Run) -> None:
    """It ended well, once, and nothing of it was an error."""
    ended = await asyncio.wait_for(runs.wait(run.id), 60)
    assert (ended.status, ended.error) == ("success", None)
    kinds = [event.kind async for event in runs.follow(run.id)]
    assert kinds.count("end") == 1
    assert "error" not in kinds
    assert kinds[-2:] == ["updates", "end"]
    assert (await runs.thread("thread")).values == {"first": "x" * 100_000, "second": "said"}


async def test_a_run_goes_on_when_the_store_works_again(trouble: Trouble, tmp_path: Path) -> None:
    """In the same process, its readers with it; until then the server says that it is not well."""
    graph = graph_of(trouble)
    async with data_folder(tmp_path, {"graph": graph})() as home:
        await trouble.prepare(home)
        async with Runs({"graph": graph}, home) as runs:
            run = await put_off(runs)
            reading = asyncio.ensure_future(anext(runs.follow(run.id)))
            await trouble.go()
            await check(runs, run)
            assert (await reading).kind == "metadata"
            assert runs.worker.problem is None


async def test_a_run_goes_on_at_the_next_start(trouble: Trouble, tmp_path: Path) -> None:
    """If the store does not work before the server stops, the run is there at the next start."""
    graph = graph_of(trouble)
    async with data_folder(tmp_path, {"graph": graph})() as home:
        await trouble.prepare(home)
        async with Runs({"graph": graph}, home) as runs:
            run = await put_off(runs)
    await trouble.go()
    async with (
        data_folder(tmp_path, {"graph": graph})() as home,
        Runs({"graph": graph}, home) as runs,
    ):
        await check(runs, run)


async def test_a_stopped_run_waits_for_the_store(trouble: Trouble, tmp_path: Path) -> None:
    """A run that is cancelled meanwhile is over when its thread's state can be read."""
    graph = graph_of(trouble)
    async with data_folder(tmp_path, {"graph": graph})() as home:
        await trouble.prepare(home)
        async with Runs({"graph": graph}, home) as runs:
            run = await put_off(runs)
            await runs.cancel(run.id)
            await trouble.go()
            ended = await asyncio.wait_for(runs.wait(run.id), 60)
            assert (ended.status, ended.error) == ("interrupted", None)
            assert [event.kind async for event in runs.follow(run.id)][-1] == "end"


async def test_the_server_says_so(trouble: Trouble, tmp_path: Path) -> None:
    """While the checkpoints cannot be used ``/ok`` is 503, and says why."""
    graph = graph_of(trouble)
    app = create_app({"graph": graph}, home=data_folder(tmp_path, {"graph": graph}))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as http,
    ):
        runs = app.state.service.runs
        await trouble.prepare(Home(runs.store, runs.log, runs.checkpoints))
        run = await put_off(runs)
        answer = await http.get("/ok")
        assert (answer.status_code, answer.json()["ok"]) == (503, False)
        assert "checkpoints" in answer.json()["detail"]
        await trouble.go()
        await check(runs, run)
        assert (await http.get("/ok")).status_code == 200


async def test_an_error_of_a_nodes_own_database_is_the_runs(tmp_path: Path) -> None:
    """What a node raises is the run's error, also if it looks like trouble of the store."""

    @node
    async def fails(state: State) -> State:
        raise sqlite3.OperationalError("database is locked")

    graph: Any = StateGraph(State).add_node("fails", fails).add_edge(START, "fails").compile()
    async with (
        data_folder(tmp_path, {"graph": graph})() as home,
        Runs({"graph": graph}, home) as runs,
    ):
        run = await runs.start(RunRequest(graph="graph", input={"first": ""}))
        ended = await asyncio.wait_for(runs.wait(run.id), 60)
        assert ended.status == "error"
        assert ended.error == {"error": "OperationalError", "message": "database is locked"}
