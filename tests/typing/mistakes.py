"""Calls that are type errors, each on a line that ends with ``# error``. Never run."""

from __future__ import annotations

from typing import TypedDict

from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel.remote import RemoteGraph

from tokenweir import Meter, astream, collect, lanes, show, stream, tag


class State(TypedDict):
    topic: str


class Context(TypedDict):
    user: str


def mistakes(graph: CompiledStateGraph[State, Context, State, State], remote: RemoteGraph) -> None:
    """What mypy and pyright must both report."""
    astream(graph, {"topic": "cats"})
    astream(42, {"topic": "cats"})  # error
    stream(42, {"topic": "cats"})  # error
    astream(graph)  # error
    astream(graph, {"topc": "cats"})  # error
    astream(graph, {"topic": "cats"}, bufer=3)  # error
    stream(graph, {"topic": "cats"}, bufer=3)  # error
    astream(remote, {"topic": "cats"}, bufer=3)  # error
    astream(graph, {"topic": "cats"}, buffer="3")  # error
    astream(graph, {"topic": "cats"}, only=3)  # error
    astream(graph, {"topic": "cats"}, headers={})  # error
    astream(graph, {"topic": "cats"}, version="v9")  # error
    stream(remote, {"topic": "cats"}, version="v9")  # error
    astream(graph, {"topic": "cats"}, stream_mode="mesages")  # error
    stream(graph, {"topic": "cats"}, stream_mode="mesages")  # error
    astream(remote, {"topic": "cats"}, stream_mode="mesages")  # error
    astream(graph, {"topic": "cats"}, stream_mode=["mesages"])  # error
    astream(graph, {"topic": "cats"}, durability="asynch")  # error
    astream(graph, {"topic": "cats"}, context={"usr": "Ann"})  # error
    collect(42)  # error
    show(42)  # error
    Meter().watch(42)  # error
    collect(astream(graph, {"topic": "cats"}, stream_mode=["messages"]))  # error
    lanes(stream(graph, {"topic": "cats"}), tag("joke"))  # error
    lanes(astream(graph, {"topic": "cats"}, subgraphs=True), tag("joke"))  # error
