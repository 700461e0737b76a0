"""The filters: what each looks at, how they combine, and how they are written as text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenweir.errors import FilterError
from tokenweir.streaming.filters import (
    Filter,
    as_filter,
    from_model,
    from_node,
    in_namespace,
    parse_filter,
    tag,
)
from tokenweir.types import ReadOnlyMetadata

CALL: dict[str, Any] = {
    "tags": ["joke", "draft"],
    "langgraph_node": "write",
    "langgraph_checkpoint_ns": "editor:11|polish:22|write:33",
    "ls_model_name": "gpt-4o-mini",
    "ls_provider": "openai",
}


@pytest.mark.parametrize(
    ("accepted", "only"),
    [
        (True, tag("joke")),
        (False, tag("jok")),
        (True, from_node("write")),
        (False, from_node("polish")),
        (True, from_model("gpt-4o-mini")),
        (True, from_model("openai:gpt-4o-mini")),
        (False, from_model("azure:gpt-4o-mini")),
        (True, in_namespace("editor")),
        (True, in_namespace("editor", "polish")),
        (True, in_namespace("editor:11")),
        (False, in_namespace("editor:12")),
        (False, in_namespace("polish")),
        (False, in_namespace("editor", "polish", "write")),
        (True, tag("joke") & from_node("write")),
        (False, tag("joke") & ~tag("draft")),
        (True, tag("poem") | from_node("write") & ~tag("final")),
        (True, Filter(lambda metadata: len(metadata["tags"]) == 2)),
    ],
)
def test_what_passes(accepted: bool, only: Filter) -> None:
    """Each filter accepts or rejects this call; what its text says does the same."""
    assert only(CALL) is accepted
    if "<" not in str(only):
        assert parse_filter(str(only))(CALL) is accepted


def test_a_call_without_metadata_passes_nothing() -> None:
    """Missing keys and a tags of None reject, and do not raise."""
    for only in (tag("a"), from_node("a"), from_model("a"), in_namespace("a")):
        assert not only({})
        assert not only({"tags": None, "langgraph_checkpoint_ns": None})


NAMES = st.text(min_size=1, max_size=6)
TERMS = st.one_of(
    NAMES.map(tag), NAMES.map(from_node), NAMES.map(from_model),
    NAMES.filter(lambda name: "|" not in name).map(in_namespace),
)  # fmt: skip
FILTERS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds(lambda left, right: left & right, inner, inner),
        st.builds(lambda left, right: left | right, inner, inner),
        st.builds(lambda one: ~one, inner),
    ),
    max_leaves=6,
)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "tags": st.lists(NAMES, max_size=3),
        "langgraph_node": NAMES,
        "ls_model_name": NAMES,
        "langgraph_checkpoint_ns": st.lists(NAMES, max_size=3).map("|".join),
    },
)


@given(FILTERS, st.lists(CALLS, max_size=5))
def test_text_and_back(only: Filter, calls: list[dict[str, Any]]) -> None:
    """A filter's text reads back as a filter that decides alike and is written alike."""
    again = parse_filter(str(only))
    assert str(again) == str(only)
    assert [again(call) for call in calls] == [only(call) for call in calls]


@given(FILTERS, FILTERS, CALLS)
def test_the_algebra(left: Filter, right: Filter, call: dict[str, Any]) -> None:
    """``&``, ``|`` and ``~`` are and, or and not."""
    assert (left & right)(call) == (left(call) and right(call))
    assert (left | right)(call) == (left(call) or right(call))
    assert (~left)(call) == (not left(call))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a filter was expected, not 'the end'"),
        ("joke", "cannot read 'joke' .did you mean tag:joke."),
        ("tga:joke", "unknown kind 'tga' .known: tag, node, model, agent, tool, namespace"),
        ("tag:a tag:b", "nothing was expected after tag:a"),
        ("(tag:a", "a bracket is not closed"),
        ("tag:a &", "a filter was expected"),
        ("| tag:a", "a filter was expected, not '|'"),
        ("tag:", "cannot read"),
        ('tag:"', "cannot read"),
    ],
)
def test_text_that_is_no_filter(text: str, said: str) -> None:
    """What cannot be read is said, with the forms that can."""
    with pytest.raises(FilterError, match=said) as raised:
        parse_filter(text)
    assert "tag:joke, node:write" in str(raised.value)


def test_mistakes_in_code() -> None:
    """``and``, names that are no names, and other objects are refused at once."""
    with pytest.raises(FilterError, match="not with `and`"):
        tag("a") and tag("b")
    with pytest.raises(TypeError):
        tag("a") & "tag:b"
    with pytest.raises(TypeError):
        tag("a") | 1
    for wrong in ("", None, 3):
        with pytest.raises(FilterError, match="takes a name"):
            tag(wrong)  # type: ignore[arg-type]
    with pytest.raises(FilterError, match="takes the names of nodes"):
        in_namespace()
    with pytest.raises(FilterError, match="only= takes a filter"):
        as_filter(3)  # type: ignore[arg-type]
    assert as_filter(None) is None
    assert str(as_filter("tag:a")) == "tag:a"


def test_an_async_function_is_refused() -> None:
    """Its coroutine would count as true, so every call would pass."""

    async def accepts(metadata: ReadOnlyMetadata) -> bool:
        return False

    class Accepts:
        async def __call__(self, metadata: ReadOnlyMetadata) -> bool:
            return False

    for each in (accepts, Accepts()):
        with pytest.raises(FilterError, match="not async"):
            as_filter(each)
