"""What a served run records of its model calls is what a stream of the same graph gives."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from pydantic import SecretStr

from tokenweir.models.chat import ChatModel
from tokenweir.serving.running.encoding import plain
from tokenweir.serving.running.home import in_memory
from tokenweir.serving.running.records import RunRequest
from tokenweir.serving.running.runs import Runs
from tokenweir.streaming.stream import astream
from tokenweir.testing import Provider, Reply, ToolCall

WORDS = [f"word-{number} " for number in range(20)]
CALL = ToolCall("weather", '{"city": "Köln", "days": 3}')
FIELDS = (
    "content",
    "type",
    "additional_kwargs",
    "response_metadata",
    "tool_calls",
    "invalid_tool_calls",
    "tool_call_chunks",
    "usage_metadata",
    "chunk_position",
)
REPLIES = {
    "one by one": Reply(tokens=WORDS, every=0.002),
    "several at once": Reply(tokens=WORDS, every=0.002, lump=3),
    "all at once": Reply(tokens=WORDS, burst=True),
    "empty texts": Reply(tokens=["", "one", "", "", "two", ""], every=0.002),
    "quotes and more": Reply(tokens=['"', "\\", "\u2028", "漢", "\x00", "😀"], every=0.002),
    "the role each time": Reply(tokens=WORDS, every=0.002, role_everywhere=True),
    "reasoning before": Reply(tokens=WORDS, every=0.002, reasoning=["let ", "me ", "see"]),
    "tool calls behind": Reply(tokens=WORDS, every=0.002, tool_calls=[CALL, CALL]),
    "log probabilities": Reply(tokens=WORDS, every=0.002, logprobs=True),
    "usage": Reply(tokens=WORDS, every=0.002, usage="always"),
    "cut at any byte": Reply(tokens=WORDS, split=("random", 5)),
}


class State(TypedDict, total=False):
    """Nothing but a topic."""

    topic: str


def graph_of(provider: Provider) -> Any:
    """Calls at the same time: in nodes, in a subgraph, and in a graph that a node streams."""
    model = ChatModel(
        model="gpt-4o-mini", base_url=provider.base_url, api_key=SecretStr("test"), tags=["said"]
    )

    async def first(state: State, config: RunnableConfig) -> None:
        await model.ainvoke("first", config)

    async def second(state: State, config: RunnableConfig) -> None:
        await model.ainvoke("second", config)

    async def streaming(state: State, config: RunnableConfig) -> None:
        streamed: Any = StateGraph(State).add_node("watched", first).add_edge(START, "watched")
        parts = astream(streamed.compile(), state, config)
        assert [chunk async for chunk, _ in parts]

    inner: Any = StateGraph(State).add_node("deep", first).add_edge(START, "deep")
    builder: Any = StateGraph(State).add_node("first", first).add_node("second", second)
    builder.add_node("inner", inner.compile()).add_node("streaming", streaming)
    for name in ("first", "second", "inner", "streaming"):
        builder.add_edge(START, name)
    return builder.compile()


def told(found: list[tuple[Any, Any]]) -> dict[str, list[Any]]:
    """What was told, by node: the same whichever of several calls was quicker."""
    by_node: dict[str, list[Any]] = {}
    ids: dict[str, set[str]] = {}
    for message, metadata in found:
        node = metadata["langgraph_node"]
        ids.setdefault(node, set()).add(message["id"])
        fields = {name: message[name] for name in FIELDS}
        by_node.setdefault(node, []).append((fields, metadata["tags"], metadata["langgraph_step"]))
    assert all(len(each) == 1 for each in ids.values())
    return by_node


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
@pytest.mark.parametrize("only", [None, "text|reasoning|~text"], ids=["calls", "chunks"])
async def test_the_record_is_the_stream(provider: Provider, reply: Reply, only: Any) -> None:
    """Chunk for chunk, with all their fields: of calls taken whole, and of those looked into."""
    provider.default = reply
    graph = graph_of(provider)
    request = RunRequest(graph="graph", input={"topic": "x"}, modes=["messages"], subgraphs=True)
    request.only = only
    async with in_memory() as home, Runs({"graph": graph}, home) as runs:
        run = await runs.start(request)
        await runs.wait(run.id)
        events = [event async for event in runs.follow(run.id) if event.mode == "messages"]
    recorded = told([tuple(event.value) for event in events])
    kinds = {event.kind.partition(":")[0] for event in events}
    assert kinds == {"messages", "messages|inner", "messages|streaming"}

    parts = astream(graph, {"topic": "x"}, stream_mode=["messages"], subgraphs=True, only=only)
    streamed: list[Any] = []
    async for _, _, (message, metadata) in parts:
        fields = {name: getattr(message, name) for name in (*FIELDS, "id")}
        streamed.append((plain(fields), metadata))
    assert recorded == told(streamed)
    assert set(recorded) == {"first", "second", "deep", "watched"}
