"""A server that lost a run, and hears of it in whatever way: its readers read on."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph

from tokenweir.nodes.node import node
from tokenweir.serving.log.events import Event
from tokenweir.serving.postgres.home import postgres_home
from tokenweir.serving.running.records import RunRequest
from tokenweir.serving.running.runs import Runs


class State(TypedDict, total=False):
    """What the node gives."""

    said: str


async def test_its_readers_read_on(database_url: str) -> None:
    """It has said nothing more since, and is told by the refusal of a checkpoint alone."""
    go_on, begun = asyncio.Event(), asyncio.Semaphore(0)

    @node
    async def say(state: State) -> State:
        get_stream_writer()("begins")
        begun.release()
        await go_on.wait()
        return {"said": "all"}

    graph = StateGraph(State).add_node("say", say).add_edge(START, "say").compile()
    graphs: dict[str, Any] = {"graph": graph}
    read = list[Event]()

    async def read_all(runs: Runs, run: str) -> None:
        async for event in runs.follow(run):
            read.append(event)

    async with (
        postgres_home(database_url, graphs)() as home,
        postgres_home(database_url, graphs)() as other,
        Runs(graphs, home) as loser,
    ):
        run = await loser.start(RunRequest(graph="graph", input={"said": ""}, modes=["custom"]))
        await asyncio.wait_for(begun.acquire(), 60)
        reading = asyncio.ensure_future(read_all(loser, run.id))
        while await other.log.last_id(run.id) < 2:  # all of it is written
            await asyncio.sleep(0)
        loser.worker.stopping = True  # it claims nothing
        await home.store.leave(loser.worker.name)
        async with Runs(graphs, other) as taker:
            await asyncio.wait_for(begun.acquire(), 60)
            go_on.set()
            assert (await asyncio.wait_for(taker.wait(run.id), 60)).status == "success"
            await asyncio.wait_for(reading, 60)
    assert [event.kind for event in read] == ["metadata", "custom", "metadata", "custom", "end"]
