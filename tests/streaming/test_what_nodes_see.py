"""A run of ours gives its nodes what LangGraph's own run gives them."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import push_message
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore

from tokenweir.streaming.stream import astream, stream
from tokenweir.testing import without_run_ids

MODES: list[Any] = ["messages", "updates", ["updates"], ["messages", "values"], ["custom"], None]


def graph_of(seen: list[Any], **kwargs: Any) -> Any:
    def look(state: MessagesState, runtime: Runtime[Any]) -> Any:
        seen.append((runtime.store, runtime.context, runtime.previous, runtime.heartbeat))
        return {}

    return (
        StateGraph(MessagesState).add_node("look", look).add_edge(START, "look").compile(**kwargs)
    )


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("sync", [False, True])
async def test_the_graphs_store(mode: Any, sync: bool) -> None:
    """The store that a graph was compiled with reaches its nodes, in every mode."""
    seen: list[Any] = []
    store = InMemoryStore()
    graph = graph_of(seen, store=store)
    if sync:
        list(stream(graph, {"messages": []}, stream_mode=mode))
        list(graph.stream({"messages": []}, stream_mode="updates"))
    else:
        _ = [part async for part in astream(graph, {"messages": []}, stream_mode=mode)]
        _ = [part async for part in graph.astream({"messages": []}, stream_mode="updates")]
    assert seen[0] == seen[1]
    assert seen[0][0] is store


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_forgotten_thread_id(mode: Any) -> None:
    """A graph with a checkpointer and no thread id fails as LangGraph's own run does."""
    graph = graph_of([], checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="Checkpointer requires one or more") as theirs:
        await graph.ainvoke({"messages": []})
    with pytest.raises(ValueError, match="Checkpointer requires one or more") as ours:
        _ = [part async for part in astream(graph, {"messages": []}, stream_mode=mode)]
    assert str(ours.value) == str(theirs.value)


class Context(TypedDict):
    who: str


def seen_in(runtime: Runtime[Any], config: RunnableConfig) -> Any:
    """What a node can see of its run, with objects that differ from run to run as their kind."""
    configurable = dict(config["configurable"])
    stream = configurable.pop("__pregel_stream", None)
    kinds = {
        name: value if isinstance(value, str | int | None | dict) else type(value).__name__
        for name, value in configurable.items()
        if name != "__pregel_runtime"
    }
    values = {field.name: getattr(runtime, field.name) for field in dataclasses.fields(runtime)}
    for name in ("store", "control", "stream_writer", "heartbeat"):
        values[name] = getattr(values[name], "__name__", type(values[name]).__name__)
    del values["stream_writer"]  # tests/streaming/test_node_writers.py
    info: Any = runtime.execution_info
    values["execution_info"] = dataclasses.replace(info, node_first_attempt_time=None)
    return without_run_ids(
        {
            "runtime": values,
            "configurable": kinds,
            "modes": None if stream is None else sorted(stream.modes),
            "metadata": dict(config["metadata"]),
            "tags": config["tags"],
            "recursion_limit": config["recursion_limit"],
            "keys": sorted(config),
        }
    )


def looking(seen: list[Any]) -> Any:
    """A graph and a subgraph whose nodes note what they see; and a node that is cached."""

    def look(state: MessagesState, runtime: Runtime[Context], config: RunnableConfig) -> Any:
        seen.append(seen_in(runtime, config))
        return {}

    inner: Any = StateGraph(MessagesState, Context)
    inner.add_node("below", look).add_edge(START, "below")
    builder: Any = StateGraph(MessagesState, Context)
    builder.add_node("look", look).add_node("inner", inner.compile()).add_edge(
        START, "look"
    ).add_edge("look", "inner")
    graph = builder.compile(
        store=InMemoryStore(), checkpointer=InMemorySaver(), cache=InMemoryCache()
    )
    return graph.with_config(tags=["bound"], configurable={"bound": "1"})


CONFIG: Any = {
    "configurable": {"thread_id": "1", "given": "2", "graph_id": "g", "assistant_id": "a"},
    "metadata": {"who": "me"},
    "tags": ["mine"],
    "recursion_limit": 7,
    "run_name": "named",
}


@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("sync", [False, True])
async def test_runtime_and_config(mode: Any, sync: bool, subgraphs: bool) -> None:
    """Nodes, and those of subgraphs, see the same of their run as in the graph's own stream."""
    kwargs: Any = {"stream_mode": mode, "subgraphs": subgraphs, "durability": "sync"}
    kwargs |= {"input": {"messages": []}, "config": CONFIG, "context": {"who": "me"}}
    runs: list[list[Any]] = [[], []]
    by_us, by_langgraph = looking(runs[0]), looking(runs[1])
    if sync:
        list(stream(by_us, **kwargs))
        list(by_langgraph.stream(**kwargs))
    else:
        _ = [part async for part in astream(by_us, **kwargs)]
        _ = [part async for part in by_langgraph.astream(**kwargs)]
    assert len(runs[0]) == 2
    if not subgraphs:
        for each in runs[0]:  # they ask for no parts: what comes of a subgraph is dropped
            each["modes"] = None
    assert runs[0] == runs[1]


@pytest.mark.parametrize("mode", ["messages", ["messages", "values"]], ids=str)
@pytest.mark.parametrize("sync", [False, True])
async def test_messages_of_a_remote_graph_in_a_node(mode: Any, sync: bool) -> None:
    """What a ``RemoteGraph`` in a node hands on, as it does it, comes out of the stream."""

    def remote(state: MessagesState, config: RunnableConfig) -> Any:
        config["configurable"]["__pregel_stream"]((("remote:1",), "messages", ["hi", {}]))
        return {}

    builder: Any = StateGraph(MessagesState).add_node("remote", remote).add_edge(START, "remote")
    graph = builder.compile()
    kwargs: Any = {"input": {"messages": []}, "stream_mode": mode, "subgraphs": True}
    if sync:
        ours, theirs = list(stream(graph, **kwargs)), list(graph.stream(**kwargs))
    else:
        ours = [part async for part in astream(graph, **kwargs)]
        theirs = [part async for part in graph.astream(**kwargs)]
    assert ours == theirs
    assert ["hi", {}] in [part[-1] for part in ours]


@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("mode", ["messages", ["messages", "updates"]], ids=str)
@pytest.mark.parametrize("sync", [False, True])
async def test_pushed_messages(mode: Any, sync: bool, subgraphs: bool) -> None:
    """What a node pushes with ``push_message`` comes out of the stream, from subgraphs too."""
    if sys.version_info < (3, 11) and not sync:
        pytest.skip("before Python 3.11 push_message does not know its node in an async run")

    def push(state: MessagesState) -> Any:
        push_message(AIMessage("hi", id="pushed"), state_key=None)
        return {}

    def graph_with(node: Any) -> Any:
        return StateGraph(MessagesState).add_node("n", node).add_edge(START, "n").compile()

    for graph in (graph_with(push), graph_with(graph_with(push))):
        kwargs: Any = {"input": {"messages": []}, "stream_mode": mode, "subgraphs": subgraphs}
        if sync:
            ours, theirs = list(stream(graph, **kwargs)), list(graph.stream(**kwargs))
        else:
            ours = [part async for part in astream(graph, **kwargs)]
            theirs = [part async for part in graph.astream(**kwargs)]
        assert without_run_ids(ours) == without_run_ids(theirs)


async def test_the_mode_tools() -> None:
    """LangGraph's mode for tools is one, though its type does not name it."""
    graph = graph_of([])
    ours = [part async for part in astream(graph, {"messages": []}, stream_mode=["tools"])]  # type: ignore[list-item]
    assert ours == []
