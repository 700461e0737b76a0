"""The meter, fed by hand at times of its own."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langgraph.types import StreamMode

from tokenweir.graphs import joke_poem, joke_poem_custom
from tokenweir.streaming.meter import CallCounts, Meter
from tokenweir.streaming.stream import astream
from tokenweir.testing import Provider, Reply


def chunk(text: str = "word", id: str = "1", **kwargs: Any) -> AIMessageChunk:
    return AIMessageChunk(content=text, id=id, **kwargs)


JOKE: dict[str, Any] = {"tags": ["joke"], "langgraph_node": "write"}
POEM: dict[str, Any] = {"tags": ["poem"], "langgraph_node": "write"}


def test_one_call() -> None:
    """Time to the first token counts from the head of the answer; the rate counts the gaps."""
    meter = Meter(clock=lambda: 10.0)
    meter.start()
    meter.feed(chunk(""), JOKE, at=10.2)
    for number in range(5):
        meter.feed(chunk(), JOKE, at=10.5 + number * 0.1)
    last = chunk("", usage_metadata={"input_tokens": 1, "output_tokens": 9, "total_tokens": 10})
    meter.feed(last, JOKE, at=11.0)
    report = meter.report().by_tag["joke"]
    assert (report.calls, report.tokens, report.characters) == (1, 5, 20)
    assert report.time_to_first_token == pytest.approx(0.3)
    assert meter.report().total.time_to_first_token == pytest.approx(0.5)
    assert report.latency_p50 == pytest.approx(0.1, rel=0.01)
    assert report.latency_p99 == pytest.approx(0.1, rel=0.01)
    assert report.tokens_per_second == pytest.approx(10)
    assert (report.output_tokens, report.not_streamed) == (9, 0)


def test_counts_of_nodes_agents_and_models() -> None:
    """Calls, tokens and the providers' own counts add up by each; None where nobody said."""
    meter = Meter()
    mini = {"ls_model_name": "mini", "lc_agent_name": "researcher"}
    usage: Any = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    for name, metadata in (("a", {**JOKE, **mini}), ("b", {**POEM, **mini}), ("c", POEM)):
        meter.feed(chunk(id=name), metadata, at=0.0)
        meter.feed(chunk(id=name), metadata, at=1.0)
        if name != "c":
            meter.feed(chunk("", id=name, usage_metadata=usage), metadata, at=2.0)
    report = meter.report()
    assert report.by_node == {"write": CallCounts(3, 6, 6, 4)}
    assert report.by_agent == {"researcher": CallCounts(2, 4, 6, 4)}
    assert report.by_model == {"mini": CallCounts(2, 4, 6, 4)}
    assert report.by_tag["poem"].calls == 2
    assert (report.by_tag["poem"].input_tokens, report.total.output_tokens) == (3, 4)


def test_calls_at_once_have_gaps_of_their_own() -> None:
    """A gap is between two tokens of one call, whatever other calls do meanwhile."""
    meter = Meter()
    for number in range(4):
        meter.feed(chunk(id="a"), JOKE, at=number * 1.0)
        meter.feed(chunk(id="b"), POEM, at=number * 1.0 + 0.01)
    total = meter.report().total
    assert total.latency_p50 == pytest.approx(1.0, rel=0.01)
    assert total.tokens_per_second == pytest.approx(1.0)
    assert set(meter.report().by_tag) == {"joke", "poem"}


def test_percentiles_are_right_to_one_percent() -> None:
    """Over gaps from microseconds to seconds, p50 and p99 are those of the sorted list."""
    meter, chance, now, gaps = Meter(), random.Random(7), 0.0, []
    for _ in range(5000):
        meter.feed(chunk(), JOKE, at=now)
        gaps.append(10 ** chance.uniform(-5, 0.5))
        now += gaps[-1]
    cuts = statistics.quantiles(gaps[:-1], n=100, method="inclusive")
    report = meter.report().total
    assert report.latency_p50 == pytest.approx(cuts[49], rel=0.02)
    assert report.latency_p99 == pytest.approx(cuts[98], rel=0.03)


def test_answers_in_one_chunk_are_said_to_be_so() -> None:
    """A call whose whole answer came at once is not counted as streaming."""
    meter = Meter()
    meter.feed(chunk("the whole answer", id="a"), JOKE, at=0.0)
    meter.feed(AIMessage("another", id="b"), JOKE, at=1.0)
    meter.feed(chunk(id="c"), JOKE, at=2.0)
    meter.feed(chunk(id="c"), JOKE, at=2.1)
    report = meter.report()
    assert report.total.not_streamed == 2
    assert "joke: 2 of 3 calls came in one chunk: not streamed" in str(report)


def test_tool_calls_and_other_tokens_count() -> None:
    """Pieces of tool calls, reasoning and dicts are tokens; empty chunks are not."""
    meter = Meter()
    piece = tool_call_chunk(name="add", args="{", id="c", index=0)
    meter.feed(chunk("", tool_call_chunks=[piece]), JOKE, at=0.0)
    meter.feed(chunk("", additional_kwargs={"reasoning_content": "hm"}), JOKE, at=0.1)
    meter.feed(chunk(""), JOKE, at=0.2)
    meter.feed({"role": "assistant", "content": "x"}, POEM, at=0.3)
    meter.feed(ToolMessage("3", tool_call_id="c", id="t"), {"langgraph_node": "tools"}, at=0.4)
    report = meter.report()
    assert {name: part.tokens for name, part in report.by_tag.items()} == {
        "joke": 2,
        "poem": 1,
        "tools": 1,
    }


def test_nothing_measured() -> None:
    """A report of nothing has no figures, and can be printed."""
    report = Meter().report()
    assert report.total.time_to_first_token is None
    assert report.total.tokens_per_second is None
    assert str(report).splitlines()[-1].split() == ["all", "0", "0", "-", "-", "-", "-"]


def test_the_table() -> None:
    """One row per tag and one for all, in columns."""
    meter = Meter(clock=lambda: 0.0)
    meter.start()
    meter.feed(chunk("", id="a"), JOKE, at=0.0)
    meter.feed(chunk("", id="b"), POEM, at=1.5)
    for number in range(3):
        meter.feed(chunk(id="a"), JOKE, at=1.5 + number * 0.02)
        meter.feed(chunk(id="b"), POEM, at=2.5 + number * 0.04)
    rows = [line.split("  ") for line in str(meter.report()).splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells[0] == ["calls", "tokens", "first token", "gap p50", "gap p99", "tokens/s"]
    assert [row[0] for row in cells[1:]] == ["joke", "poem", "all"]
    assert [row[3] for row in cells[1:]] == ["1.50 s", "1.00 s", "1.50 s"]
    assert [row[6] for row in cells[1:]] == ["50.0", "25.0", "33.3"]
    assert len({len(line) for line in str(meter.report()).splitlines()}) == 1


def test_a_call_whose_start_is_not_known() -> None:
    """A stream that begins a call with a token does not tell how long the call took to give it."""
    meter = Meter(clock=lambda: 0.0)
    meter.start()
    meter.feed(chunk(), JOKE, at=1.5)
    report = meter.report()
    assert report.by_tag["joke"].time_to_first_token is None
    assert report.total.time_to_first_token == 1.5


@pytest.mark.parametrize(("make", "mode"), [(joke_poem, "messages"), (joke_poem_custom, "custom")])
async def test_the_first_token_counts_from_the_call(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, make: Any, mode: StreamMode
) -> None:
    """A poem that is asked for after a slow joke is not charged with the joke."""
    slow = 0.3
    for name, value in provider.environ.items():
        monkeypatch.setenv(name, value)
    provider.reply(Reply("Why?", first_after=slow), Reply("In sunlit patches"))
    meter, began = Meter(), time.perf_counter()
    came: dict[str, float] = {}
    async for token, metadata in meter.watch(
        astream(make.build("openai:gpt-4o-mini"), {"topic": "cats"}, stream_mode=mode)
    ):
        if token.content:
            came.setdefault(metadata["tags"][0], time.perf_counter() - began)
    report = meter.report()
    first = {name: each.time_to_first_token or 0 for name, each in report.by_tag.items()}
    assert slow < first["joke"] < came["joke"]
    assert 0 < first["poem"] < came["poem"] - slow
    assert first["joke"] < (report.total.time_to_first_token or 0) < came["joke"]


async def test_watching_passes_everything_on() -> None:
    """``watch`` gives the same tokens, async and sync, and closes what it was given."""
    tokens = [(chunk(str(number)), JOKE) for number in range(5)]
    closed = []

    async def arriving() -> AsyncIterator[Any]:
        try:
            for token in tokens:
                yield token
        finally:
            closed.append("async")

    def at_hand() -> Iterator[Any]:
        try:
            yield from tokens
        finally:
            closed.append("sync")

    meter = Meter()
    watched = meter.watch(arriving())
    assert [await anext(watched), await anext(watched)] == tokens[:2]
    await watched.aclose()
    assert closed == ["async"]
    assert list(meter.watch(at_hand())) == tokens
    assert closed == ["async", "sync"]
    assert meter.report().total.tokens == 7
    with pytest.raises(TypeError, match="watch takes a stream"):
        meter.watch(42)  # type: ignore[call-overload]
