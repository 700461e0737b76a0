"""What a chunk holds, in the order in which a person sees it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call, tool_call_chunk

from tokenweir.streaming.content import Piece, call_of, is_last, pieces

PART = tool_call_chunk(name="add", args='{"a"', id="1", index=0)
REST = tool_call_chunk(name=None, args=": 2}", id=None, index=0)
CALL = tool_call(name="add", args={"a": 2}, id="1")
RAW = {"function": {"name": "add", "arguments": '{"a": 2}'}}


@pytest.mark.parametrize(
    ("chunk", "seen"),
    [
        (AIMessageChunk(content="Why"), [Piece("text", "Why")]),
        (AIMessageChunk(content=""), []),
        (AIMessage("Why not?"), [Piece("text", "Why not?")]),
        (HumanMessage("hi"), [Piece("text", "hi")]),
        (ToolMessage("5", tool_call_id="1"), [Piece("result", "5")]),
        (AIMessageChunk(content=[{"type": "text", "text": "Why"}, "?"]), ["Why", "?"]),
        (
            AIMessageChunk(content=[{"type": "thinking", "thinking": "hm"}, {"type": "other"}]),
            [Piece("reasoning", "hm")],
        ),
        (
            AIMessageChunk(content=[{"type": "reasoning", "summary": [{"text": "hm"}]}]),
            [Piece("reasoning", "hm")],
        ),
        (
            AIMessageChunk(content="so", additional_kwargs={"reasoning_content": "hm"}),
            [Piece("reasoning", "hm"), Piece("text", "so")],
        ),
        (AIMessageChunk(content="", tool_call_chunks=[PART]), [Piece("call", 'add {"a"', True)]),
        (AIMessageChunk(content="", tool_call_chunks=[REST]), [Piece("call", ": 2}")]),
        (AIMessage("", tool_calls=[CALL]), [Piece("call", 'add {"a": 2}', True)]),
        ({"content": "Why", "role": "assistant"}, [Piece("text", "Why")]),
        ({"content": None, "reasoning_content": "hm"}, [Piece("reasoning", "hm")]),
        ({"content": "", "tool_calls": [RAW]}, [Piece("call", 'add {"a": 2}', True)]),
        ({"role": "tool", "content": "5"}, [Piece("result", "5")]),
        ("Why", [Piece("text", "Why")]),
        ("", []),
        (None, []),
        (7, []),
    ],
)
def test_what_is_seen(chunk: Any, seen: list[Any]) -> None:
    """Text, thoughts, calls and results, from messages, hand-written dicts and strings."""
    assert pieces(chunk) == [Piece("text", p) if isinstance(p, str) else p for p in seen]


def test_calls_are_told_apart() -> None:
    """By the message's id; without one, by where and with which tags it was written."""
    here = {"langgraph_checkpoint_ns": "write:1", "langgraph_node": "write", "tags": ["joke"]}
    first, other = AIMessageChunk(content="a", id="1"), AIMessageChunk(content="a", id="2")
    assert call_of(first, here) == call_of(AIMessageChunk(content="b", id="1"), {})
    assert call_of(first, here) != call_of(other, here)
    assert call_of({"content": "a"}, here) == call_of("b", here)
    assert call_of({"content": "a"}, here) != call_of("a", {**here, "tags": ["poem"]})


def test_the_end_of_a_call() -> None:
    """A chunk marked as last ends its call, and so does a whole message."""
    assert is_last(AIMessageChunk(content="", chunk_position="last"))
    assert is_last(AIMessage("whole"))
    assert not is_last(AIMessageChunk(content="a"))
    assert not is_last({"content": "a"})
