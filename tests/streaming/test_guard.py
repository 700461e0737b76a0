"""``guard``: what is forbidden is held back, however it is split over tokens."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, RemoveMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.runnables import RunnableConfig

from tokenweir import GuardError, astream, chat_model, guard, stream, tag
from tokenweir.testing import Provider, Reply

KEY = r"sk-[a-z0-9]{4,}"
ANSWER: dict[str, Any] = {"tags": ["answer"], "langgraph_node": "write"}


def chunk(text: str, id: str = "1", **kwargs: Any) -> AIMessageChunk:
    return AIMessageChunk(content=text, id=id, **kwargs)


def said(*texts: str, metadata: dict[str, Any] = ANSWER, **kwargs: Any) -> list[Any]:
    """A call's tokens, the last of which is marked."""
    return [
        *((chunk(text, **kwargs), metadata) for text in texts),
        (chunk("", chunk_position="last", **kwargs), metadata),
    ]


def read(stage: Any, tokens: Any) -> tuple[str, bool]:
    """What a reader got, and whether it was stopped."""
    got: list[Any] = []
    try:
        got.extend(part.content for part, _ in stage(tokens))
    except GuardError:
        return "".join(got), True
    return "".join(got), False


PATTERNS = [
    KEY,
    r"(?:\d{2}[ -]?){3}",
    r"\bab\b",
    r"ab|abcab",
    r"b(?=ab)",
    r"b(?!ab)",
    r"(?<=a )b+",
    r"a.*b|bb\b",
    r"^ab|b$",
    r"(?i)BAB?A",
    r"(a|b)\1\1",
    r"a++b",
    r"[ab]+ [ab]+",
]


@settings(max_examples=400)
@given(
    pattern=st.sampled_from(PATTERNS),
    texts=st.lists(st.text("ab 1-sk", max_size=6), max_size=12),
)
def test_a_reader_never_gets_a_character_of_a_match(pattern: str, texts: list[str]) -> None:
    """However the text is cut: all before the first match comes, at most, and all if there is none.

    A negative lookahead decides by what has come, so it may stop more, never less.
    """
    whole = "".join(texts)
    first = regex.search(pattern, whole)
    got, stopped = read(guard(None, pattern, hold=100), said(*texts))
    assert whole.startswith(got)
    if first is not None:
        assert stopped
        assert len(got) <= first.start()
    elif "(?!" not in pattern:
        assert (got, stopped) == (whole, False)


@settings(max_examples=200)
@given(texts=st.lists(st.text("abx", max_size=8), max_size=20), hold=st.integers(3, 10))
def test_a_function_sees_what_it_forbids_whole(texts: list[str], hold: int) -> None:
    """What is at most ``hold`` characters long is never passed; the function sees no more."""
    seen: list[str] = []

    def check(text: str) -> bool:
        seen.append(text)
        return "abx" in text

    whole = "".join(texts)
    got, stopped = read(guard(None, check, hold=hold), said(*texts))
    assert stopped == ("abx" in whole)
    assert "a" not in got[whole.find("abx") :] if stopped else got == whole
    assert whole.startswith(got)
    assert max(map(len, seen), default=0) <= hold + 8


def test_text_waits_only_where_a_match_may_have_begun() -> None:
    """Each token comes at once, until one may be the beginning of a match."""
    sent: list[str] = []

    def source() -> Any:
        for token in said("My", " key", " is s", "k", "-not", ".", " So."):
            sent.append(token[0].content)
            yield token

    got = [(part.content, len(sent)) for part, _ in guard(None, KEY)(source())]
    assert got == [
        ("My", 1),
        (" key", 2),
        (" is s", 6),
        ("k", 6),
        ("-not", 6),
        (".", 6),
        (" So.", 7),
        ("", 8),
    ]


def test_a_match_is_told() -> None:
    """As an error that names the node and not the text; or by a replacement, as the last chunk."""
    tokens = said("The key: ", "sk", "-12", "3456", "7 is")
    with pytest.raises(
        GuardError, match=r"^node 'write' \(tags: answer\) wrote forbidden text"
    ) as caught:
        list(guard(tag("answer"), KEY)(tokens))
    assert "sk-" not in str(caught.value)
    replaced = list(guard(tag("answer"), KEY, replacement="[removed]")(tokens))
    assert [part.content for part, _ in replaced] == ["The key: ", "[removed]"]
    last, metadata = replaced[-1]
    assert (last.id, last.chunk_position, metadata) == ("1", "last", ANSWER)  # type: ignore[attr-defined]


def test_what_could_match_for_too_long() -> None:
    """What may still become a match after more than ``hold`` characters is one."""
    between = r"<secret>.*</secret>"
    assert read(guard(None, between, hold=20), said("a <secret>", "b", " c" * 3)) == (
        "a <secret>b c c c",
        False,
    )
    assert read(guard(None, between, hold=20), said("a ", "<secret>", "b" * 12, "c")) == (
        "a ",
        True,
    )
    assert read(guard(None, KEY, hold=5), said("a long", " text", " sk-12", "3")) == (
        "a long text",
        True,
    )


def test_other_calls_pass() -> None:
    """Calls that the filter turns away are not looked at, and wait for nothing."""
    draft: dict[str, Any] = {"tags": ["draft"]}
    mixed = [
        (chunk("is sk"), ANSWER),
        (chunk("sk-1234", id="2"), draft),
        (chunk("ip"), ANSWER),
    ]
    got = [(part.content, part.id) for part, _ in guard(tag("answer"), KEY)(mixed)]
    assert got == [("sk-1234", "2"), ("is sk", "1"), ("ip", "1")]


@pytest.mark.parametrize(
    "fields",
    [
        lambda text: {"content": "", "additional_kwargs": {"reasoning_content": text}},
        lambda text: {"content": [{"type": "text", "text": text}]},
        lambda text: {
            "content": "",
            "tool_call_chunks": [tool_call_chunk(name=None, args=text, id=None, index=0)],
        },
    ],
    ids=["reasoning", "blocks", "tool calls"],
)
def test_all_that_a_reader_sees_is_looked_at(fields: Callable[[str], dict[str, Any]]) -> None:
    """Reasoning, blocks of content, arguments of tool calls; each kind by itself."""
    hidden: list[Any] = [
        (AIMessageChunk(id="1", **fields(text)), ANSWER) for text in ("ok ", "sk", "-12", "34")
    ]
    got: list[Any] = []
    with pytest.raises(GuardError):
        got.extend(guard(None, KEY)(hidden))
    assert len(got) == 1
    apart: list[Any] = [hidden[1], (chunk("-1234"), ANSWER)]
    if not isinstance(hidden[0][0].content, list):
        assert list(guard(None, KEY)(apart)) == apart


def test_whole_messages_and_hand_written_ones() -> None:
    """A message that a node returned is looked at, and so are dicts and strings."""
    for whole in (AIMessage("sk-1234", id="1"), {"content": "sk-1234"}, "sk-1234"):
        with pytest.raises(GuardError):
            list(guard(None, KEY)([(whole, ANSWER)]))  # type: ignore[list-item]
    fine: list[Any] = [(AIMessage("sk-", id="1"), ANSWER), ({"content": "sk"}, ANSWER)]
    assert list(guard(None, KEY)(fine)) == fine


def test_a_void_message_waits_no_more() -> None:
    """What waited of it is dropped, and its retraction passes."""
    tokens: list[Any] = [(chunk("a"), ANSWER), (chunk(" sk"), ANSWER)]
    tokens += [(RemoveMessage(id="1"), ANSWER), *said("-1234", id="2")]
    got = [part.content for part, _ in guard(None, KEY)(tokens)]
    assert got == ["a", "", "-1234", ""]


async def test_an_async_function() -> None:
    """It is awaited; a sync stream cannot be guarded by it."""
    asked: list[str] = []

    async def check(text: str) -> bool:
        asked.append(text)
        return "bad" in text

    async def source() -> AsyncIterator[Any]:
        for token in said("all is", " well", " or b", "ad"):
            yield token

    got: list[Any] = []
    with pytest.raises(GuardError):
        async for part, _ in guard(None, check, hold=6)(source()):
            got.append(part.content)
    assert got == ["all is"]
    assert asked == ["all is well", "s well or b", "ell or bad"] or asked[-1].endswith("bad")
    with pytest.raises(TypeError, match="an async check guards an async stream"):
        guard(None, check)([])


def test_a_failing_source_and_a_failing_check() -> None:
    """What waited is judged and read before the source's error; the check's own error is raised."""

    def source() -> Any:
        yield chunk("it is sk"), ANSWER
        raise ConnectionError("cut")

    got: list[Any] = []
    with pytest.raises(ConnectionError):
        got.extend(part.content for part, _ in guard(None, KEY)(source()))
    assert got == ["it is sk"]
    with pytest.raises(ZeroDivisionError):
        list(guard(None, lambda text: 1 / 0, hold=1)(said("two")))


@pytest.mark.parametrize(
    ("check", "hold", "error"),
    [("a*", 40, "empty text"), ("(", 40, "no regular expression"), ("a", 0, "at least 1")],
)
def test_what_cannot_be_guarded(check: str, hold: int, error: str) -> None:
    """It is refused when the guard is made."""
    with pytest.raises(ValueError, match=error):
        guard(None, check, hold=hold)


def test_flags_of_a_compiled_pattern_hold() -> None:
    """A compiled pattern is one with its flags."""
    assert read(guard(None, re.compile("SECRET", re.IGNORECASE)), said("a sec", "ret")) == (
        "",
        True,
    )


@pytest.mark.parametrize("replacement", [None, "[removed]"])
async def test_a_match_cancels_the_providers_call(
    one_node: Any, provider: Provider, replacement: str | None
) -> None:
    """In a graph: the connection is closed before the reader is told, and no character comes."""
    provider.default = Reply(tokens=["My", " key", " sk", "-123", "4", " more", "."], stall_after=6)
    model = chat_model(
        "openai:gpt-4o-mini", base_url=provider.base_url, api_key="test", tags=["answer"]
    )

    async def write(state: Any, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke("hello", config)]}

    safe = guard(tag("answer"), KEY, replacement=replacement)
    texts = []
    try:
        async for part, _ in safe(astream(one_node(write), {"messages": []})):
            texts.append(part.content)
    except GuardError:
        texts.append("stopped")
    assert "".join(map(str, texts)) == "My key" + (replacement or "stopped")
    [request] = provider.requests
    await request.aclosed(60)
    assert request.state == "client_left"


def test_a_sync_graph(one_node: Any, model: Any) -> None:
    """A sync stream is guarded as well; random cuts of a clean text change nothing."""

    def write(state: Any, config: RunnableConfig) -> Any:
        return {"messages": [model.invoke("sk and sk- and so on", config)]}

    graph = one_node(write)
    plain = "".join(part.text for part, _ in stream(graph, {"messages": []}))
    assert plain
    assert read(guard(None, KEY), stream(graph, {"messages": []})) == (plain, False)
    chance, text = random.Random(7), "sk-1 sk-22 sk-333 " * 200
    cuts = sorted(chance.sample(range(len(text)), 500))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(guard(None, KEY), said(*pieces)) == (text, False)
