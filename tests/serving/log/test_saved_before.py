"""No checkpoint is ahead of the event log: looked at where each row is about to be written."""

from __future__ import annotations

import asyncio
import operator
import sqlite3
from collections.abc import AsyncIterator
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, TypedDict

import aiosqlite
import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.types import StreamWriter, interrupt

from tests.waiting import await_until
from tokenweir.nodes.node import node
from tokenweir.serving.log.events import Event
from tokenweir.serving.log.sqlite import SqliteLog
from tokenweir.serving.log.sqlite_file import SqliteFile
from tokenweir.serving.log.wal import WalKeeper
from tokenweir.serving.running.checkpoints import SqliteCheckpoints
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.local_store import LocalStore
from tokenweir.serving.running.records import RunRequest
from tokenweir.serving.running.runs import Runs
from tokenweir.serving.running.saver_thread import SaverThread

MODES = [
    ["messages"],
    ["messages", "updates", "values"],
    ["updates"],
    ["values", "updates", "custom"],
    ["custom", "tasks"],
    ["debug", "values"],
    ["checkpoints", "updates"],
    ["messages", "values", "updates", "custom", "debug", "tasks", "checkpoints"],
]


class State(TypedDict, total=False):
    """Who is done."""

    done: Annotated[list[str], operator.add]


class Watched(SqliteCheckpoints):
    """Checkpoints as a server keeps them, which look into the log's file before they write.

    What they look at is a row that says that nodes are done.
    """

    file: SqliteFile

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[tuple[set[str], bool, list[Event]]] = []
        self.row: ContextVar[tuple[set[str], bool]] = ContextVar("row")

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        top = not config["configurable"]["checkpoint_ns"]
        self.row.set((set(checkpoint["channel_values"].get("done", ())), top))
        return await super().aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: Any, writes: Any, task_id: str, task_path: str = ""
    ) -> None:
        done = [name for channel, value in writes if channel == "done" for name in value]
        done += [channel for channel, _ in writes if channel == "__interrupt__"]
        self.row.set((set(done), False))
        await super().aput_writes(config, writes, task_id, task_path)

    async def _wait(self, config: Any) -> None:
        await super()._wait(config)
        self.seen.append((*self.row.get(), self.file.page(config["metadata"]["run_id"], 0)))


def of(event: Event) -> set[str]:
    """The nodes of which an event is, if a checkpoint of theirs follows it."""
    value = event.value
    if event.mode == "messages":
        return {value[1]["langgraph_node"]}
    if event.mode == "custom":
        return {value["from"]}
    if event.mode == "updates":
        return set(value)
    if event.mode == "debug":
        value = value["payload"] if value["type"] == "task_result" else {}
    return {value["name"]} if "result" in value else set()


def graph_of(*more: tuple[str, Any]) -> Any:
    """One node in the loop and one in a thread at the same time, and then a graph of both."""
    model = FakeListChatModel(responses=["hello"])

    def looping(name: str) -> Any:
        @node
        async def say(state: State, config: RunnableConfig, writer: StreamWriter) -> State:
            await model.ainvoke("say", config)
            writer({"from": name})
            return {"done": [name]}

        return say

    def threaded(name: str) -> Any:
        @node
        def say(state: State, config: RunnableConfig, writer: StreamWriter) -> State:
            model.invoke("say", config)
            writer({"from": name})
            return {"done": [name]}

        return say

    inner: Any = StateGraph(State).add_sequence([("deep", looping("deep"))])
    inner = inner.add_node("deeper", threaded("deeper")).add_edge("deep", "deeper")
    builder: Any = StateGraph(State)
    builder.add_node("loop", looping("loop")).add_node("thread", threaded("thread"))
    builder.add_node("inner", inner.add_edge(START, "deep").compile())
    builder.add_edge(START, "loop").add_edge(START, "thread")
    builder.add_edge(["loop", "thread"], "inner")
    before = "inner"
    for name, made in more:
        builder.add_node(name, made).add_edge(before, name)
        before = name
    return builder.compile()


class Place:
    """A log, checkpoints that look into it, and what runs graphs on both."""

    def __init__(self, folder: Path, connection: aiosqlite.Connection) -> None:
        self.log = SqliteLog(folder / "events.sqlite")
        self.wal = WalKeeper(folder / "checkpoints.sqlite")
        self.thread = SaverThread(folder / "checkpoints.sqlite")
        self.saver = Watched(connection, self.thread, self.wal)
        self.saver.file = SqliteFile(folder / "events.sqlite")
        self.home = Home(LocalStore(self.log), self.log, self.saver)

    async def close(self) -> None:
        await self.thread.close()
        await self.wal.close()
        await self.log.close()
        self.saver.file.close_writing()
        self.saver.file.reading.close()

    async def run(self, graph: Any, **request: Any) -> list[Event]:
        asked = RunRequest(graph="graph", input={"done": ["input"]}, **request)
        async with Runs({"graph": graph}, self.home) as runs:
            run = await runs.start(asked)
            await asyncio.wait_for(runs.wait(run.id), 60)
            return [event async for event in runs.follow(run.id)]

    def check(self, events: list[Event]) -> None:
        """Whatever is done where a row was written had said all that it had to say."""
        assert self.saver.seen
        for done, whole, stored in self.saver.seen:
            ids = {event.id for event in stored}
            for event in events:
                if of(event) & done:
                    assert event.id in ids, f"{event} came behind a row about {done}"
            if whole and done and any(event.kind == "values" for event in events):
                values = [event.value["done"] for event in stored if event.mode == "values"]
                assert any(done == set(each) for each in values)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with aiosqlite.connect(tmp_path / "checkpoints.sqlite") as connection:
        place = Place(tmp_path, connection)
        await place.saver.setup()
        yield place
        await place.close()


@pytest.mark.parametrize("modes", MODES, ids=" ".join)
@pytest.mark.parametrize("subgraphs", [False, True], ids=["top", "subgraphs"])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_what_is_done_was_said_before(
    place: Place, modes: list[str], subgraphs: bool, durability: str
) -> None:
    """Of every node that a row tells as done, each event is in the log's file by then."""
    events = await place.run(graph_of(), modes=modes, subgraphs=subgraphs, durability=durability)
    assert {"loop", "thread"} <= set().union(*map(of, events)) or modes == ["values"]
    assert events[-1].value["status"] == "success"
    place.check(events)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_question_is_told_before_it_is_kept(place: Place, durability: str) -> None:
    """An interrupt is in the log's file when the row is written that the run waits."""

    @node
    async def ask(state: State) -> State:
        return {"done": [interrupt("what?")]}

    graph = graph_of(("ask", ask))
    events = await place.run(graph, modes=["updates", "tasks"], durability=durability)
    assert any("__interrupt__" in of(event) for event in events)
    place.check(events)


class Locked:
    """A node that says more than the log can take, as its file is locked then; until ``open``."""

    def __init__(self, folder: Path, log: SqliteLog, way: str = "loop") -> None:
        self._other = sqlite3.connect(
            folder / "events.sqlite", isolation_level=None, check_same_thread=False
        )
        self._log = log
        log._file.writing.execute("PRAGMA busy_timeout = 10")

        @node
        def much(state: State, writer: StreamWriter) -> State:
            self._other.execute("BEGIN IMMEDIATE")
            for _ in range(20):
                writer({"from": "much", "filling": "x" * (1 << 20)})
            return {"done": ["much"]}

        @node
        async def much_in_loop(state: State, writer: StreamWriter) -> State:
            return much(state, writer)

        self.graph = graph_of(("much", much_in_loop if way == "loop" else much))

    async def reached(self) -> None:
        await await_until(lambda: self._log.full and self._log.problem)

    def open(self) -> None:
        self._other.execute("COMMIT")
        self._other.close()


@pytest.mark.parametrize("modes", [["custom", "updates"], ["custom", "updates", "messages"]])
@pytest.mark.parametrize("way", ["loop", "thread"])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_full_log_holds_the_checkpoint(
    place: Place, tmp_path: Path, modes: list[str], way: str, durability: str
) -> None:
    """While more waits than the log takes, what is done is not written as done."""
    locked = Locked(tmp_path, place.log, way)
    running = asyncio.ensure_future(place.run(locked.graph, modes=modes, durability=durability))
    await asyncio.wait_for(locked.reached(), 60)
    locked.open()
    events = await running
    assert [of(event) for event in events].count({"much"}) == 21
    place.check(events)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_run_that_is_stopped_while_its_checkpoint_waits(
    place: Place, tmp_path: Path, durability: str, times: int
) -> None:
    """It ends, and is not done with what was not saved; however often it is told to stop."""
    locked = Locked(tmp_path, place.log)
    asked = RunRequest(
        graph="graph", input={"done": []}, modes=["custom", "updates"], durability=durability
    )
    async with Runs({"graph": locked.graph}, place.home) as runs:
        run = await runs.start(asked)
        await asyncio.wait_for(locked.reached(), 60)
        for _ in range(times):
            await runs.cancel(run.id)
            for _ in range(20):
                await asyncio.sleep(0)
        locked.open()
        run = await asyncio.wait_for(runs.wait(run.id), 60)
    assert run.status == "interrupted"
    if saving := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(saving, timeout=60)
    for done, _, stored in place.saver.seen:
        assert "much" not in done or [of(event) for event in stored].count({"much"}) >= 20
