"""Adding chunks up: what LangChain's own sum gives, at a cost that grows with their number."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    HumanMessageChunk,
    message_chunk_to_message,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.utils.json import parse_partial_json

from tokenweir.streaming.merge import message_of, parse_cut_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=5), inside),
    max_leaves=12,
)


def outcome(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except json.JSONDecodeError as error:
        return ("error", str(error))


@settings(max_examples=400)
@given(VALUES, st.integers(0, 400), st.sampled_from([None, 2]), st.booleans())
def test_cut_json(value: Any, length: int, indent: int | None, ascii: bool) -> None:
    """JSON that was cut anywhere is read as LangChain reads it."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)[:length]
    assert outcome(parse_cut_json, text) == outcome(parse_partial_json, text)


@settings(max_examples=400)
@given(st.text(alphabet='{}[]":,\\ \n\t12.e-trufalsn', max_size=40))
def test_broken_json(text: str) -> None:
    """Text that never was JSON is read, or refused, as LangChain does."""
    assert outcome(parse_cut_json, text) == outcome(parse_partial_json, text)


PIECES = st.builds(
    tool_call_chunk,
    name=st.none() | st.sampled_from(["", "add", "find"]),
    args=st.none() | st.sampled_from(["", '{"a"', ": 1", "}", '{"a": 1}', "[1", "null", "x"]),
    id=st.none() | st.sampled_from(["", "c1", "c2"]),
    index=st.none() | st.integers(0, 2),
)
USAGE = st.none() | st.just({"input_tokens": 3, "output_tokens": 2, "total_tokens": 5})
CHUNKS = st.lists(
    st.builds(
        AIMessageChunk,
        content=st.sampled_from(["", "a", " word", "é"])
        | st.just([{"type": "text", "text": "t", "index": 0}]),
        tool_call_chunks=st.lists(PIECES, max_size=2),
        usage_metadata=USAGE,
        response_metadata=st.sampled_from(
            [{}, {"model_provider": "openai"}, {"model_provider": "x", "finish_reason": "stop"}]
        ).map(dict),
        additional_kwargs=st.sampled_from([{}, {}, {"reasoning_content": "hm"}]),
        id=st.sampled_from(["run", "run", "run", "run", "run", "lc_run--1", None]),
        name=st.sampled_from([None, None, "joker"]),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=400)
@given(CHUNKS)
def test_the_sum_is_langchains(chunks: list[AIMessageChunk]) -> None:
    """Text, blocks, tool calls in all shapes, usage and the rest add up as LangChain adds them."""
    first, *rest = [chunk.model_copy(deep=True) for chunk in chunks]
    expected = message_chunk_to_message(first + rest if rest else first)
    message = message_of(chunks)
    assert message == expected
    assert list(vars(message)) == list(vars(expected))  # the order is that of the repr
    assert message.model_fields_set == expected.model_fields_set


def test_whole_messages_and_other_roles() -> None:
    """A whole message stands for itself, the last of several counts, and a user's chunks add up."""
    whole = AIMessage("done", id="1")
    assert message_of([whole]) is whole
    assert message_of([AIMessage("draft"), whole]) is whole
    assert message_of(
        [HumanMessageChunk(content="a"), HumanMessageChunk(content="b")]
    ) == HumanMessage("ab")


@pytest.mark.parametrize("cut", [False, True], ids=["valid", "cut short"])
def test_the_cost_is_linear(cut: bool) -> None:
    """Four times the tokens take about four times the work, counted in calls and lines run."""

    def chunks(count: int) -> list[AIMessageChunk]:
        pieces = ['{"text": "', *["word "] * count, *([] if cut else ['"}'])]
        return [
            AIMessageChunk(
                content="",
                tool_call_chunks=[tool_call_chunk(name=None, args=piece, id=None, index=0)],
            )
            for piece in pieces
        ]

    def work(count: int) -> int:
        made, steps = chunks(count), 0

        def count_step(frame: Any, event: str, argument: Any) -> Any:
            nonlocal steps
            steps += 1
            return count_step

        before = sys.gettrace()
        sys.settrace(count_step)
        try:
            message_of(made)
        finally:
            sys.settrace(before)
        return steps

    assert work(400) < 5 * work(100)


def test_arguments_of_brackets_a_thousand_deep() -> None:
    """What no parser reads is an invalid tool call, as with LangChain, and no crash."""
    piece = tool_call_chunk(name="add", args="[" * 5000, id="c", index=0)
    message = message_of([AIMessageChunk(content="", tool_call_chunks=[piece])])
    assert isinstance(message, AIMessage)
    assert message.invalid_tool_calls[0]["name"] == "add"
