"""What ``--json`` writes, for parts that no graph of the other tests makes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call

from tokenweir.cli import records
from tokenweir.streaming.content import token_record

WHERE = {"langgraph_node": "write", "tags": ["joke", "seq:step:1"], "ls_model_name": "gpt"}


def carried(chunk: Any) -> dict[str, Any]:
    """A chunk's record without the keys that every token has."""
    record = token_record(chunk, WHERE, ())
    assert record is not None
    common = ("type", "text", "id", "node", "tags", "namespace", "model")
    assert list(record)[: len(common)] == list(common)
    return {key: value for key, value in record.items() if key not in common}


def test_a_token() -> None:
    """The keys of every token, with a person's tags only."""
    assert token_record(AIMessageChunk(content="Why", id="1"), WHERE, ("edit:1",)) == {
        "type": "token",
        "text": "Why",
        "id": "1",
        "node": "write",
        "tags": ["joke"],
        "namespace": ["edit:1"],
        "model": "gpt",
    }


def test_empty_chunks_are_left_out() -> None:
    """A chunk that carries nothing at all makes no record."""
    assert token_record(AIMessageChunk(content=""), WHERE, ()) is None


def test_what_a_token_may_carry() -> None:
    """Reasoning, tool calls and the finish reason stand there only if there are any."""
    thought = AIMessageChunk(content="", additional_kwargs={"reasoning_content": "hm"})
    assert carried(thought) == {"reasoning": "hm"}
    done = AIMessageChunk(content="", response_metadata={"finish_reason": "stop"})
    assert carried(done) == {"finish_reason": "stop"}
    by_hand = {"content": "", "tool_calls": [{"name": "add", "args": {"a": 1}}]}
    assert carried(by_hand) == {"tool_calls": [{"name": "add", "args": {"a": 1}}]}


def test_whole_messages() -> None:
    """A whole message tells its role, and a tool's result which call it answers."""
    assert carried(HumanMessage("hi", name="Ann")) == {"role": "human", "name": "Ann"}
    assert carried(ToolMessage("5", tool_call_id="c1")) == {"role": "tool", "tool_call_id": "c1"}
    calling = AIMessage("", tool_calls=[tool_call(name="add", args={"a": 1}, id="c1")])
    assert carried(calling)["tool_calls"] == [
        {"index": None, "id": "c1", "name": "add", "args": {"a": 1}}
    ]


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("data", "written"),
    [
        ({"a": [1, None, "詩"]}, {"a": [1, None, "詩"]}),
        (Point(1), {"x": 1}),
        ({1, 2}, "{1, 2}"),
        ({(1, 2): [Point(3)]}, {"(1, 2)": [{"x": 3}]}),
        (HumanMessage("hi"), None),
        (Point, None),
    ],
)
def test_anything_can_be_written(data: Any, written: Any) -> None:
    """Whatever a node writes becomes one line of JSON."""
    line = records.line(records.custom((), data))
    assert "\n" not in line
    record = json.loads(line)
    assert record["type"] == "custom"
    assert written is None or record["data"] == written


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding(encoding: str) -> None:
    """What the output's encoding lacks, and half a character, is escaped, so the text survives."""
    record = records.custom((), "詩 \ud83d é")
    assert json.loads(records.line(record, encoding).encode(encoding).decode(encoding)) == record


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_lacks(number: float) -> None:
    """NaN and the infinities, which other readers of JSON refuse, become text."""
    line = records.line(records.custom((), {"n": number}))
    strict = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert strict["data"] == {"n": str(number)}
