"""Graphs whose nodes do not let themselves be ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph

from tests.waiting import pause
from tokenweir.nodes.node import node


class State(TypedDict, total=False):
    """What the node is told, and what it and the one behind it give."""

    file: str
    said: str
    after: str


def may_end(file: str) -> bool:
    return Path(file).exists()


def ends(file: str) -> None:
    """A letter more for each node that ends."""
    with Path(file).open("a") as opened:
        opened.write("x")


@node
async def swallows(state: State) -> State:
    """Goes on, whatever happens, until there is a file of that name."""
    get_stream_writer()("begun")
    while not may_end(state["file"]):
        try:
            await pause(0.05)
        except asyncio.CancelledError:
            continue
    ends(state["file"])
    return {"said": "too late"}


@node
async def behind(state: State) -> State:
    return {"after": "too late"}


def _built(**more: Any) -> Any:
    graph = StateGraph(State).add_node("swallows", swallows).add_node("behind", behind)
    return graph.add_edge(START, "swallows").add_edge("swallows", "behind").compile(**more)


deaf = _built(name="deaf")


@node
async def quick(state: State) -> State:
    return {"after": "done"}


deaf_beside = (
    StateGraph(State)
    .add_node("swallows", swallows)
    .add_node("quick", quick)
    .add_edge(START, "swallows")
    .add_edge(START, "quick")
    .compile(name="deaf_beside")
)

fast = StateGraph(State).add_node("quick", quick).add_edge(START, "quick").compile(name="fast")
