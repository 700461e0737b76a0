"""The filters that look at chunks: ``text`` and ``reasoning``, alone and joined with others."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk

from tokenweir.errors import FilterError
from tokenweir.streaming.content import reasoning_of, text_of
from tokenweir.streaming.filters import Filter, parse_filter, reasoning, tag, text
from tokenweir.streaming.lanes import lanes

SAID = AIMessageChunk(content="hello")
THOUGHT = AIMessageChunk(content="", additional_kwargs={"reasoning_content": "hmm"})
CALLED = AIMessageChunk(
    content="", tool_call_chunks=[tool_call_chunk(name="f", args="", id="1", index=0)]
)
USED = AIMessageChunk(content="")
BLOCKS: list[Any] = [{"type": "reasoning", "reasoning": "hmm", "index": 0}]

JOKE: dict[str, Any] = {"tags": ["joke"]}
POEM: dict[str, Any] = {"tags": ["poem"]}


@pytest.mark.parametrize(
    ("chunk", "said", "thought"),
    [
        (SAID, "hello", ""),
        (THOUGHT, "", "hmm"),
        (CALLED, "", ""),
        (USED, "", ""),
        (AIMessageChunk(content=BLOCKS), "", "hmm"),
        (AIMessageChunk(content=[*BLOCKS, "hello"]), "hello", "hmm"),
        (AIMessageChunk(content=[{"type": "text", "text": "hello"}]), "hello", ""),
        (AIMessageChunk(content=[{"type": "thinking", "thinking": "hmm"}]), "", "hmm"),
        (
            AIMessageChunk(content=[{"type": "reasoning", "summary": [{"text": "hmm"}]}]),
            "",
            "hmm",
        ),
        (AIMessage(content="hello"), "hello", ""),
        ({"content": "hello", "reasoning_content": "hmm"}, "hello", "hmm"),
    ],
)
def test_what_a_chunk_holds(chunk: Any, said: str, thought: str) -> None:
    """Text and reasoning are found in every form in which providers' integrations keep them."""
    assert (text_of(chunk), reasoning_of(chunk)) == (said, thought)
    assert text(JOKE, chunk) is bool(said)
    assert reasoning(JOKE, chunk) is bool(thought)


FORMS: list[tuple[Filter, Any]] = [
    (text, lambda t, s, r: s),
    (~text, lambda t, s, r: not s),
    (text | reasoning, lambda t, s, r: s or r),
    (tag("joke") & text, lambda t, s, r: t and s),
    (text & tag("joke"), lambda t, s, r: t and s),
    (tag("joke") | reasoning, lambda t, s, r: t or r),
    (reasoning | tag("joke"), lambda t, s, r: t or r),
    (~(tag("joke") & text) | reasoning, lambda t, s, r: not (t and s) or r),
    (tag("joke") & ~(text | reasoning), lambda t, s, r: t and not (s or r)),
]


@pytest.mark.parametrize(("only", "expected"), FORMS, ids=[str(only) for only, _ in FORMS])
def test_content_filters_compose(only: Filter, expected: Any) -> None:
    """Joined by ``& | ~`` they mean what logic says, and read the same from text."""
    for metadata, chunk in product((JOKE, POEM), (SAID, THOUGHT, CALLED)):
        wanted = expected(metadata is JOKE, chunk is SAID, chunk is THOUGHT)
        assert only(metadata, chunk) is bool(wanted)
        assert parse_filter(str(only))(metadata, chunk) is bool(wanted)
        decided = only.decide(metadata)
        assert decided is None or decided is bool(wanted)


def test_metadata_alone_decides_where_it_can() -> None:
    """A call that no chunk can pass, or that every chunk passes, is decided once."""
    assert (tag("joke") & text).decide(POEM) is False
    assert (text & tag("joke")).decide(POEM) is False
    assert (tag("joke") | text).decide(JOKE) is True
    assert (text | tag("joke")).decide(JOKE) is True
    assert (tag("joke") & text).decide(JOKE) is None
    assert not (tag("joke") & ~tag("poem")).looks_at_chunks
    assert (tag("joke") & ~text).looks_at_chunks


def test_a_content_filter_without_a_chunk_is_an_error() -> None:
    """Asked about metadata alone it says that it needs a chunk, instead of guessing."""
    with pytest.raises(FilterError, match=r"text looks at chunks: call it with \(metadata, chunk"):
        text(JOKE)


@pytest.mark.parametrize("bad", ["texts", "text:x y", "reasoning text", "tag:a textual"])
def test_only_the_whole_words_are_read(bad: str) -> None:
    """``text`` and ``reasoning`` are words of their own, not beginnings of others."""
    with pytest.raises(FilterError):
        parse_filter(bad)


async def test_lanes_by_content() -> None:
    """Lanes divide one call into its reasoning and its text."""

    async def tokens() -> Any:
        for chunk in (THOUGHT, SAID, CALLED, THOUGHT):
            yield chunk, JOKE

    thoughts, said, rest = lanes(tokens(), reasoning, text, ~(text | reasoning))
    assert [chunk async for chunk, _ in thoughts] == [THOUGHT, THOUGHT]
    assert [chunk async for chunk, _ in said] == [SAID]
    assert [chunk async for chunk, _ in rest] == [CALLED]
