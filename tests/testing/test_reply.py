"""``Reply``: how text becomes tokens, and bytes become parts."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenweir.testing import Reply, ToolCall


@given(st.text())
def test_tokens_add_up_to_the_text(text: str) -> None:
    """Whatever is said, nothing is lost between words, and no token is empty."""
    reply = Reply(text)
    tokens = list(reply.text_tokens())
    assert "".join(tokens) == text
    assert all(tokens)
    assert reply.count() == len(tokens)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("one", ["one"]),
        ("one two three", ["one", " two", " three"]),
        (" one", [" one"]),
        ("one  two ", ["one", " ", " two", " "]),
        ("one\ntwo three", ["one\ntwo", " three"]),
    ],
)
def test_text_is_cut_before_spaces(text: str, tokens: list[str]) -> None:
    """As models do: a word brings the space before it."""
    assert list(Reply(text).text_tokens()) == tokens


def test_tokens_go_before_text() -> None:
    """``tokens`` says where to cut; an empty token stays one."""
    reply = Reply("ignored", tokens=["a", "", "b c"])
    assert list(reply.text_tokens()) == ["a", "", "b c"]
    assert reply.count() == 3
    assert list(Reply("ignored", tokens=[]).text_tokens()) == []


def test_a_number_of_tokens_is_made_as_it_is_sent() -> None:
    """A billion tokens cost nothing until they are asked for."""
    reply = Reply(tokens=1_000_000_000)
    assert list(itertools.islice(reply.text_tokens(), 3)) == [" t0", " t1", " t2"]
    assert reply.count() == 1_000_000_000


@given(st.binary(), st.integers(1, 50))
def test_parts_of_one_size(data: bytes, size: int) -> None:
    """Parts add up to the whole, each of the size that was asked for, but the last."""
    reply = Reply(split=size)
    parts = list(reply.parts(data, reply.chance()))
    assert b"".join(parts) == data
    assert all(len(part) == size for part in parts[:-1])


@given(st.binary(min_size=1), st.integers())
def test_parts_at_random(data: bytes, seed: int) -> None:
    """Random parts add up as well, and are the same for the same seed."""
    reply = Reply(split=("random", seed))
    parts = list(reply.parts(data, reply.chance()))
    assert b"".join(parts) == data
    assert all(1 <= len(part) <= 40 for part in parts)
    assert parts == list(reply.parts(data, reply.chance()))


def test_without_split_bytes_stay_whole() -> None:
    """One part, also when there is nothing in it."""
    reply = Reply()
    assert list(reply.parts(b"data", reply.chance())) == [b"data"]


@pytest.mark.parametrize(
    ("usage", "asked", "reported"),
    [
        ("asked", None, False),
        ("asked", {"include_usage": True}, True),
        ("asked", {"include_usage": False}, False),
        ("always", None, True),
        ("never", {"include_usage": True}, False),
    ],
)
def test_usage(usage: Any, asked: Any, reported: bool) -> None:
    """The prompt's words and the answer's tokens are counted, reasoning among them."""
    reply = Reply("one two", reasoning=["hm"], usage=usage)
    request = {"messages": [{"content": "a b"}, {"content": "c"}], "stream_options": asked}
    expected = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert reply.usage_of(request) == (expected if reported else None)


def test_replies_are_values() -> None:
    """They are compared by what they say, changed by ``replace``, and cannot be changed in use."""
    call = ToolCall("add", '{"a": 1}')
    reply = Reply("a", tool_calls=[call])
    assert reply == Reply("a", tool_calls=[ToolCall("add", '{"a": 1}')])
    assert dataclasses.replace(reply, text="b").text == "b"
    with pytest.raises(dataclasses.FrozenInstanceError):
        reply.text = "c"  # type: ignore[misc]
