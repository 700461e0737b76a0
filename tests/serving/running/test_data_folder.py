"""A server's folder: what is in it when."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph

from tokenweir.nodes.node import node
from tokenweir.serving.running.data_folder import data_folder
from tokenweir.serving.running.records import RunRequest
from tokenweir.serving.running.runs import Runs


class State(TypedDict):
    """One value."""

    answer: str


async def test_what_a_node_said_is_saved_before_its_checkpoint(tmp_path: Path) -> None:
    """Whoever finds that a node is done finds all of its events, too, although they are no hurry.

    The second node looks at the file itself, when the first one's checkpoint is there.
    """
    stored: list[int] = []

    @node
    async def first(state: State) -> State:
        for number in range(7):
            get_stream_writer()(number)
        return {"answer": "said"}

    @node
    async def second(state: State) -> State:
        with sqlite3.connect(tmp_path / "events.sqlite") as file:
            stored.append(file.execute("SELECT max(last) FROM blocks").fetchone()[0])
        file.close()
        return {"answer": "all"}

    builder = StateGraph(State).add_node("first", first).add_node("second", second)
    builder.add_edge(START, "first").add_edge("first", "second")
    graph: Any = builder.compile()
    async with (
        data_folder(tmp_path, {"graph": graph})() as home,
        Runs({"graph": graph}, home) as runs,
    ):
        request = RunRequest(graph="graph", input={"answer": ""}, modes=["custom"])
        run = await runs.wait((await runs.start(request)).id)
        assert run.status == "success"
        kinds = [event.kind async for event in runs.follow(run.id)]
    assert kinds == ["metadata", *["custom"] * 7, "end"]
    assert stored[0] >= 8  # the first is the run's metadata
