"""The probe: four kinds of servers told apart, and what else an endpoint says of itself."""

from __future__ import annotations

import random
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenweir.models.available import Available, available
from tokenweir.models.probe import probe
from tokenweir.models.rhythm import Rhythm
from tokenweir.testing import Provider, Reply, ToolCall

WORDS = [f" word{number}," for number in range(40)]
ARGUMENTS = '{"text": "because water takes the soft side"}'

SERVERS = {
    "token by token": Reply(tokens=WORDS, every=0.02, first_after=0.05),
    "in lumps": Reply(tokens=WORDS, every=0.1, lump=10, first_after=0.05),
    "not at all": Reply(tokens=WORDS, burst=True, first_after=1.0),
}


def ask(provider: Provider, **kwargs: Any) -> Any:
    made = {"base_url": provider.base_url, "api_key": "test", **kwargs}
    return probe("openai:any", **made)


@pytest.mark.parametrize("completions", [False, True])
@pytest.mark.parametrize("kind", SERVERS)
async def test_servers_are_told_apart(provider: Provider, kind: str, completions: bool) -> None:
    """Token by token, in lumps, or held back until the end: each by what arrives, and when."""
    provider.default = SERVERS[kind]
    report = await ask(provider, tools=False, completions=completions)
    assert report.streams == kind
    assert report.stalled is None
    assert (report.chunks, report.output_tokens) == (40, 40)
    assert report.characters == sum(map(len, WORDS))
    assert report.time_to_first_token > 0.02


async def test_lumps_within_chunks(provider: Provider) -> None:
    """Chunks that come evenly and hold many tokens each are lumps too."""
    lumps = ["".join(WORDS[at : at + 10]) for at in range(0, 40, 10)]
    provider.default = Reply(tokens=lumps, every=0.02, usage="never")
    report = await ask(provider, tools=False)
    assert (report.streams, report.chunks, report.output_tokens) == ("in lumps", 4, None)


@pytest.mark.parametrize("after", [0, 5])
async def test_a_server_that_stalls(provider: Provider, after: int) -> None:
    """Silence is told as such, with what came before it, and nothing more is asked."""
    provider.default = Reply(tokens=WORDS, stall_after=after, every=0.01)
    report = await ask(provider, first_token_timeout=0.3, token_gap_timeout=0.3)
    assert report.chunks == after
    assert "within 0.3 s" in report.stalled
    assert report.streams == ("token by token" if after else "nothing came")
    assert report.tools == "not asked"
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(tool_calls=[ToolCall("save_note", ARGUMENTS, pieces=5)]), "streamed"),
        (Reply(tool_calls=[ToolCall("save_note", ARGUMENTS, pieces=1)]), "whole"),
        (Reply("No."), "not called"),
        (Reply(status=400, message="tools are not supported"), "refused"),
    ],
)
async def test_tool_calls(provider: Provider, reply: Reply, expected: str) -> None:
    """Whether a tool call's arguments come in pieces, whole, not at all, or are refused."""
    provider.on("Call the tool", reply)
    assert (await ask(provider)).tools == expected


async def test_reasoning_and_usage(provider: Provider) -> None:
    """Reasoning beside the text is noticed, and so is a provider that keeps its count to itself."""
    provider.default = Reply(tokens=WORDS, reasoning=["so", " many"], usage="never")
    report = await ask(provider, tools=False)
    assert (report.reasoning, report.reports_usage) == (True, False)


async def test_a_server_that_does_not_know_of_usage(provider: Provider) -> None:
    """A server that refuses to be asked for usage is asked without."""
    refused = Reply(status=400, message="Unrecognized request argument: stream_options")
    provider.on(lambda request: "stream_options" in request.body, refused)
    provider.default = Reply(tokens=WORDS, every=0.005)
    report = await ask(provider, tools=False)
    assert (report.streams, report.reports_usage) == ("token by token", False)


async def test_dashscope_is_probed_as_well(provider: Provider) -> None:
    """Models that are not OpenAI's are asked the same."""
    pytest.importorskip("dashscope")
    provider.default = Reply(tokens=WORDS, every=0.01)
    report = await probe("dashscope:qwen-plus", base_url=provider.dashscope_url)
    assert (report.streams, report.tools) == ("token by token", "not called")


async def test_what_cannot_be_reached_is_an_error() -> None:
    """No answer is made up for an endpoint that is not there."""
    with pytest.raises(openai.APIConnectionError):
        await probe("openai:any", base_url="http://127.0.0.1:9/v1", max_retries=0)


@pytest.mark.local
async def test_the_embedded_model_streams_token_by_token() -> None:
    """llama.cpp, for real."""
    report = await probe("local:smollm2", tools=False, max_tokens=60, temperature=0)
    assert report.streams == "token by token"
    assert report.output_tokens is not None
    assert 3 < report.output_tokens <= 60


@given(
    pace=st.floats(5e-3, 1.0),
    first=st.floats(0, 2),
    number=st.integers(12, 80),
    seed=st.integers(0, 1000),
)
def test_an_uneven_pace_is_no_lump(pace: float, first: float, number: int, seed: int) -> None:
    """Gaps that differ by half to one and a half are still token by token, at any speed."""
    chance, at, rhythm = random.Random(seed), first, Rhythm()
    for _ in range(number):
        at += pace * chance.uniform(0.5, 1.5)
        rhythm.feed(at, 5)
    if rhythm.times[-1] - rhythm.times[0] > 0.02 * rhythm.times[-1]:
        assert rhythm.verdict() == "token by token"


@given(
    lump=st.integers(5, 20),
    lumps=st.integers(3, 20),
    pause=st.floats(0.05, 1.0),
    part=st.floats(1e-4, 0.1),
)
def test_lumps_are_lumps_at_any_size(lump: int, lumps: int, pause: float, part: float) -> None:
    """Many tokens at a time, then a pause: in lumps."""
    rhythm, within = Rhythm(), part * pause / lump
    for number in range(lumps):
        for token in range(lump):
            rhythm.feed(0.1 + number * pause + token * within, 5)
    assert rhythm.arrivals() == lumps
    assert rhythm.verdict() == "in lumps"


def test_nothing_is_nothing() -> None:
    """Without a chunk there is no figure."""
    rhythm = Rhythm()
    assert rhythm.verdict() == "nothing came"
    assert (rhythm.first, rhythm.chunks_per_second, rhythm.arrivals()) == (None, None, 0)


def test_what_is_available(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, packages and running servers make a name ready; the rest says what it needs."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    found = {
        one.name: one
        for one in available({"mine": provider.base_url, "none": "http://127.0.0.1:9"})
    }
    assert found["openai:MODEL"].ready
    assert found["qwen:MODEL"] == Available(
        "qwen:MODEL", False, "Qwen, by OpenAI's protocol: set DASHSCOPE_API_KEY"
    )
    assert found["openai:gpt-4o-mini"] == Available(
        "openai:gpt-4o-mini", True, f"mine, with base_url={provider.base_url}"
    )
    assert found["upstage:MODEL"].note.endswith("langchain-upstage")
    ready = [one.ready for one in found.values()]
    assert ready == sorted(ready, reverse=True)
