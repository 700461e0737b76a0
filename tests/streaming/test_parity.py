"""Promise 1: what LangGraph's own call yields, ours yields: same chunks, metadata and order."""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import MessagesState, StateGraph
from langgraph.types import Command

from tokenweir.streaming.stream import astream, stream
from tokenweir.testing.matchers import by_call, without_run_ids

START: Any = {"messages": [("user", "hello")], "note": []}

ASYNC_KINDS = [
    "ainvoke", "astream", "message", "history", "nostream", "retry", "structured",
    "send", "tools", "subgraph", "inner", "command", "silent",
]  # fmt: skip
if sys.version_info >= (3, 11):  # interrupt() reads a context variable
    ASYNC_KINDS.append("interrupt")

SHAPES: list[dict[str, Any]] = [
    {},
    {"subgraphs": True},
    {"stream_mode": ["messages"]},
    {"stream_mode": ["messages"], "subgraphs": True},
    {"stream_mode": ["updates", "messages"]},
    {"stream_mode": ["messages", "values", "custom"], "subgraphs": True},
    {"stream_mode": ["updates", "tasks"]},
    {"stream_mode": ["values", "custom", "updates"], "subgraphs": True},
    {"stream_mode": "updates"},
    {"stream_mode": None},
    {"version": "v2"},
    {"version": "v2", "subgraphs": True, "stream_mode": ["messages", "updates"]},
]


def fresh() -> Any:
    return {"configurable": {"thread_id": str(uuid4())}, "tags": ["run"], "metadata": {"who": "me"}}


def graphs_own(graph: Any, *args: Any, **kwargs: Any) -> Any:
    return graph.astream(*args, stream_mode="messages", **kwargs)


async def plainly(graph: Any, shape: dict[str, Any]) -> list[Any]:
    shape = {"stream_mode": "messages", **shape}
    return [part async for part in graph.astream(START, fresh(), **shape)]


async def ourselves(graph: Any, shape: Any) -> list[Any]:
    return [part async for part in astream(graph, START, fresh(), retract=False, **shape)]


def comparable(parts: list[Any], layers: list[list[str]]) -> Any:
    """Parts as values to compare: tokens in their order, and the rest.

    LangGraph itself gives the updates of nodes that end at the same moment in the order of a set,
    and nodes that use threads or sleep beside others make the order of calls a matter of timing:
    then only the order within each call is fixed.
    """

    def is_token(part: Any) -> bool:
        found = token(part)
        return isinstance(found, tuple) and isinstance(found[0], BaseMessage)

    def token(part: Any) -> Any:
        if not isinstance(part, tuple):
            return part.get("data", part)
        return part if isinstance(part[0], BaseMessage) else part[-1]

    tokens = [part for part in parts if is_token(part)]
    rest = sorted(repr(without_run_ids(part)) for part in parts if not is_token(part))
    timed = any(len(layer) > 1 and {"tools", "retry"} & set(layer) for layer in layers)
    if timed:
        return by_call(token(part) for part in tokens), rest
    return without_run_ids(tokens), rest


@given(
    layers=st.lists(
        st.lists(st.sampled_from(ASYNC_KINDS), min_size=1, max_size=3), min_size=1, max_size=3
    ),
    shape=st.sampled_from(SHAPES),
)
@settings(max_examples=60)
def test_any_graph_streams_the_same(
    maker: Any, layers: list[list[str]], shape: dict[str, Any]
) -> None:
    """For generated graphs, in every form of the call, parts and their order are LangGraph's."""

    async def compare() -> None:
        # Two graphs from one description: models that break once must break in both.
        plain = await plainly(maker().graph(layers), shape)
        ours = await ourselves(maker().graph(layers), shape)
        assert comparable(ours, layers) == comparable(plain, layers)

    asyncio.run(compare())


@given(
    layers=st.lists(
        st.lists(st.sampled_from(["invoke", "message", "send", "tools"]), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    ),
    subgraphs=st.booleans(),
)
@settings(max_examples=20)
def test_nodes_in_threads_stream_the_same(
    maker: Any, layers: list[list[str]], subgraphs: bool
) -> None:
    """With nodes in threads, each call's chunks are LangGraph's, in their order."""

    async def compare() -> None:
        plain = await plainly(maker().graph(layers), {"subgraphs": subgraphs})
        ours = await ourselves(maker().graph(layers), {"subgraphs": subgraphs})
        if subgraphs:
            plain = [token for _, token in plain]
            ours = [token for _, token in ours]
        assert by_call(ours) == by_call(plain)

    asyncio.run(compare())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_sync_call_streams_the_same(graphs: Any, shape: Any) -> None:
    """``stream`` yields what ``graph.stream`` yields."""
    graph = graphs.graph([["invoke"], ["invoke"]])
    plain = list(graph.stream(START, fresh(), **{"stream_mode": "messages", **shape}))
    ours = list(stream(graph, START, fresh(), retract=False, **shape))
    assert without_run_ids(ours) == without_run_ids(plain)


async def test_inside_another_graphs_node_the_same(graphs: Any, maker: Any) -> None:
    """A graph that is streamed inside a node is seen by its caller as LangGraph shows it."""
    layers = [["message"], ["ainvoke", "subgraph"]]

    def outer(call: Any) -> Any:
        async def node(state: Any, config: RunnableConfig) -> Any:
            inner = maker().graph(layers)
            tokens = [token async for token in call(inner, START, config, subgraphs=True)]
            return {"messages": [("ai", str(len(tokens)))]}

        return (
            StateGraph(MessagesState).add_node("node", node).add_edge("__start__", "node").compile()
        )

    for subgraphs in (False, True):
        plain = [
            part
            async for part in outer(graphs_own).astream(
                START, fresh(), stream_mode="messages", subgraphs=subgraphs
            )
        ]
        ours = [part async for part in astream(outer(astream), START, fresh(), subgraphs=subgraphs)]
        assert without_run_ids(ours) == without_run_ids(plain)


async def test_a_run_goes_on_after_an_interrupt_the_same(graphs: Any) -> None:
    """An interrupted run is resumed by a Command on the same thread, and streams what is left."""
    if sys.version_info < (3, 11):
        pytest.skip("interrupt() in an async node needs Python 3.11 or @node")
    graph = graphs.graph([["message"], ["interrupt"], ["ainvoke"]])
    told = []
    for call in (
        lambda value, config: graph.astream(value, config, stream_mode="messages"),
        lambda value, config: astream(graph, value, config),
    ):
        config = fresh()
        first = [token async for token in call(START, config)]
        second = [token async for token in call(Command(resume="yes"), config)]
        told.append(without_run_ids([first, second]))
        state = await graph.aget_state(config)
        assert state.values["note"][0] == "yes"
    assert told[0] == told[1]


async def test_callbacks_bound_to_the_graph_still_run(graphs: Any) -> None:
    """Callbacks from the graph's own config and from the call are kept beside ours."""

    class Count(AsyncCallbackHandler):
        seen = 0

        async def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            self.seen += 1

    graph = graphs.graph([["ainvoke"], ["ainvoke"]])
    counts = []
    for call in (graphs_own, astream):
        bound, given_to_call = Count(), Count()
        kept = graph.with_config({"callbacks": [bound]})
        tokens = [token async for token in call(kept, START, fresh())]
        config: Any = {**fresh(), "callbacks": [given_to_call]}
        tokens += [token async for token in call(kept, START, config)]
        counts.append((len(tokens), bound.seen, given_to_call.seen))
    assert counts[0] == counts[1] == (20, 4, 2)
