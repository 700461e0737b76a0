"""Runs of a server wait for their checkpoints, also where subgraphs make none."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from tokenweir.streaming._langgraph.durability import allow_subgraphs_without_checkpoints


@pytest.mark.parametrize("sync", [True, False])
async def test_a_subgraph_without_checkpoints(sync: bool) -> None:
    """``durability="sync"`` works with a subgraph that is compiled with ``checkpointer=False``."""
    allow_subgraphs_without_checkpoints()
    inner = StateGraph(MessagesState)
    inner.add_node("say", lambda state: {"messages": [AIMessage("hello")]}).add_edge(START, "say")
    outer = StateGraph(MessagesState).add_node("inner", inner.compile(checkpointer=False))
    graph: Any = outer.add_edge(START, "inner").compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    given = {"messages": [("user", "hi")]}
    if sync:
        state = graph.invoke(given, config, durability="sync")
    else:
        state = await graph.ainvoke(given, config, durability="sync")
    assert [message.text for message in state["messages"]] == ["hi", "hello"]
