"""``collect``: the final message of each call of a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage

from tokenweir.streaming.collect import collect
from tokenweir.streaming.stream import astream, stream

INPUT: Any = {"messages": [("user", "hello")], "note": []}
THREAD: Any = {"configurable": {"thread_id": "1"}}


async def arriving(tokens: list[Any]) -> AsyncIterator[Any]:
    for token in tokens:
        yield token


NAMESPACE = {"langgraph_checkpoint_ns": "node:1"}
MIXED: list[Any] = [
    (AIMessageChunk(content="a", id="1"), {"tags": ["joke"]}),
    (AIMessageChunk(content="x", id="2"), {"tags": ["poem"]}),
    (AIMessageChunk(content="b", id="1"), {"tags": ["joke"]}),
    (ToolMessage("42", tool_call_id="c", id="3"), {}),
    ({"role": "assistant", "content": "one"}, {**NAMESPACE, "tags": ["plain"]}),
    ({"role": "assistant", "content": " two"}, {**NAMESPACE, "tags": ["plain"]}),
    (AIMessageChunk(content="y", id="2", usage_metadata=None), {"tags": ["poem"]}),
]
EXPECTED = [
    (AIMessage("ab", id="1"), {"tags": ["joke"]}),
    (AIMessage("xy", id="2"), {"tags": ["poem"]}),
    (ToolMessage("42", tool_call_id="c", id="3"), {}),
    (AIMessage("one two"), {**NAMESPACE, "tags": ["plain"]}),
]


async def test_calls_that_interleave() -> None:
    """Chunks of calls that run at once find their own message, in the order of first tokens."""
    assert await collect(arriving(MIXED)) == EXPECTED
    assert collect(MIXED) == EXPECTED


async def test_a_graphs_messages(graphs: Any) -> None:
    """Promise 3: the collected messages are what the node itself got from its model."""
    got = graphs.graph([["ainvoke"], ["ainvoke"]])
    collected = await collect(astream(got, INPUT, THREAD))
    assert len(collected) == 2
    result = await got.ainvoke(INPUT, {"configurable": {"thread_id": "2"}})
    assert [message.content for message, _ in collected] == result["note"]


def test_a_sync_stream(graphs: Any) -> None:
    """The sync form gives its list at once."""
    [(message, metadata)] = collect(stream(graphs.graph([["invoke"]]), INPUT, THREAD))
    assert message.content
    assert metadata["langgraph_step"] == 1


@pytest.mark.parametrize("wrong", [[("messages", 1, 2)], ["text"], [(1, {})], [({"a": 1}, {})]])
async def test_what_is_no_stream_of_tokens(wrong: Any) -> None:
    """Another stream's parts are refused, with what to ask for."""
    with pytest.raises(TypeError, match='stream_mode="messages"'):
        await collect(arriving(wrong))
    with pytest.raises(TypeError, match="stream_mode="):
        collect(wrong)


def test_what_is_no_stream() -> None:
    """A graph given by mistake is named."""
    with pytest.raises(TypeError, match="collect takes a stream"):
        collect(42)  # type: ignore[call-overload]
