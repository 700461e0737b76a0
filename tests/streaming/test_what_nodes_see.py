"""A run of ours gives its nodes what LangGraph's own run gives them."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore

from tokenweir.streaming.stream import astream, stream

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
