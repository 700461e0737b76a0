"""Whatever a node raises or returns, its run ends, and the server goes on."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict
from uuid import uuid4

import httpx
import pytest
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph_sdk import get_client
from pydantic import BaseModel

from tokenweir.nodes.node import node
from tokenweir.serving.running.encoding import encode, explain, scrubbed
from tokenweir.serving.running.home import in_memory
from tokenweir.serving.running.records import RunRequest
from tokenweir.serving.running.runs import Runs


class State(TypedDict, total=False):
    """What to raise or write, by name."""

    name: str


class PanicException(BaseException):
    """What libraries written in Rust raise when they panic."""


class MuteError(Exception):
    """Cannot be told."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unprintable:
    """Cannot be described, as a value and as a key."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


ERRORS: dict[str, Callable[[], BaseException]] = {
    "panic": lambda: PanicException("index out of bounds"),
    "mute": MuteError,
}
VALUES: dict[str, Any] = {
    "unprintable": Unprintable(),
    "key": {Unprintable(): 1},
    "class": RunRequest,
    "model class": BaseModel,
}


def raises(state: State) -> State:
    raise ERRORS[state["name"]]()


async def raises_async(state: State) -> State:
    raise ERRORS[state["name"]]()


@node
async def writes(state: State) -> State:
    get_stream_writer()(VALUES[state["name"]])
    return {}


def exits(state: State) -> State:
    sys.exit(3)


async def exits_async(state: State) -> State:
    sys.exit(3)


def interrupts(state: State) -> State:
    raise KeyboardInterrupt


def crashes(state: State) -> State:
    os._exit(3)


def _graph(step: Any) -> Any:
    return StateGraph(State).add_node("step", step).add_edge(START, "step").compile()


exiting, exiting_async, interrupting = _graph(exits), _graph(exits_async), _graph(interrupts)
crashing = _graph(crashes)


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("step", [raises, raises_async])
async def test_an_odd_error_ends_the_run(name: str, step: Any) -> None:
    """Errors that are no ``Exception``, and those that cannot be told or written."""
    async with in_memory() as home, Runs({"graph": _graph(step)}, home) as runs:
        run = await runs.start(RunRequest(graph="graph", input={"name": name}, modes=["values"]))
        assert [event.kind async for event in runs.follow(run.id)][-2:] == ["error", "end"]
        ended = await runs.wait(run.id)
        assert ended.status == "error"
        assert ended.error is not None
        assert ended.error["error"] == type(ERRORS[name]()).__name__


@pytest.mark.parametrize("name", VALUES)
async def test_an_odd_value_is_told_by_its_type(name: str) -> None:
    """What a node writes ends no run, however it is made."""
    async with in_memory() as home, Runs({"graph": _graph(writes)}, home) as runs:
        run = await runs.start(RunRequest(graph="graph", input={"name": name}, modes=["custom"]))
        events = [event async for event in runs.follow(run.id)]
        assert [event.kind for event in events] == ["metadata", "custom", "end"]
        assert (await runs.wait(run.id)).status == "success"


def test_messages_of_errors() -> None:
    """A long one is cut, and one of many slashes is looked through once, not for each of them."""
    text = "/usr/lib " * 100_000
    assert explain(ValueError(text))["message"] == text[:10_000] + "..."
    assert scrubbed(text) == text
    assert explain(ValueError("half of a letter \ud800"))["message"] == "half of a letter \ufffd"
    assert encode(ValueError("short")) == b'{"error":"ValueError","message":"short"}'


@pytest.mark.parametrize("graph", ["exiting", "exiting_async", "interrupting"])
async def test_a_node_that_exits_ends_its_run_alone(serve: Callable[..., Any], graph: str) -> None:
    """The server goes on, with the other runs."""
    server = serve(f"{Path(__file__)}:{graph}", "sample:two_steps")
    async with get_client(url=server.url) as client:
        for _ in range(3):
            with pytest.raises(Exception, match=r"SystemExit|KeyboardInterrupt"):
                await client.runs.wait(None, "test_odd_errors", input={"name": ""})
        assert len(await client.assistants.search()) == 2
    assert server.terminate() == 0


def test_a_node_that_kills_its_server_is_not_started_for_ever(
    serve: Callable[..., Any], http: httpx.Client, tmp_path: Path
) -> None:
    """Its run fails once the server has died ten times."""
    words = (f"{Path(__file__)}:crashing", "--data", str(tmp_path))
    server = serve(*words)
    thread = f"/threads/{uuid4()}"
    given = {"assistant_id": "test_odd_errors", "input": {"name": ""}, "if_not_exists": "create"}
    with contextlib.suppress(httpx.TransportError):  # it may be gone before it answers
        assert http.post(f"{server.url}{thread}/runs", json=given).status_code == 200
    assert server.process.wait(60) == 3
    # Nine more times, which would take as many starts.
    with contextlib.closing(sqlite3.connect(tmp_path / "events.sqlite")) as disk, disk:
        [(run, data)] = disk.execute("SELECT id, data FROM records WHERE kind = 'runs'")
        assert b'"lost":0,' in data
        data = data.replace(b'"lost":0,', b'"lost":9,')
        disk.execute("UPDATE records SET data = ? WHERE id = ?", (data, run))
    server = serve(*words)
    place = f"{server.url}{thread}/runs/{run}"
    stream = http.get(f"{place}/stream", headers={"last-event-id": "-1"}).text
    assert "ServerLost" in stream
    assert "the server ended 10 times" in stream
    assert http.get(place).json()["status"] == "error"
