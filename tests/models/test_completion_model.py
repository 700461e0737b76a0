"""Completion models: streamed outside and inside a graph, filtered, from any loop, left at once."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

import pytest
from langchain_core.language_models import LLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.types import StreamMode

from tokenweir.errors import ModelNameError, StreamError
from tokenweir.models.completion import completion_model
from tokenweir.streaming.collect import collect
from tokenweir.streaming.filters import tag
from tokenweir.streaming.meter import Meter
from tokenweir.streaming.stream import astream, stream
from tokenweir.testing import Provider, Reply

TOKENS = ["Spark", "ling", " water", ",", " oh"]


def model_of(provider: Provider, **kwargs: Any) -> Any:
    made = {"base_url": provider.base_url, "api_key": "test", "stream_usage": True, **kwargs}
    return completion_model("openai:gpt-3.5-turbo-instruct", **made)


class State(TypedDict, total=False):
    song: str


def graph_of(*models: Any, call: str = "ainvoke") -> Any:
    builder = StateGraph(State)
    for number, model in enumerate(models):

        async def sing(state: State, config: RunnableConfig, model: Any = model) -> State:
            if call == "astream":
                return {"song": "".join([part async for part in model.astream("sing", config)])}
            if call == "invoke":
                return {"song": await asyncio.to_thread(model.invoke, "sing", config)}
            return {"song": await model.ainvoke("sing", config)}

        builder.add_node(f"sing{number}", sing)
        builder.add_edge(f"sing{number - 1}" if number else START, f"sing{number}")
    return builder.compile()


async def test_tokens_by_stream_and_astream(provider: Provider) -> None:
    """``stream`` and ``astream`` give each token as it came, and ``ainvoke`` their sum."""
    provider.default = Reply(tokens=TOKENS)
    model = model_of(provider)
    assert "|".join(list(model.stream("sing"))) == "Spark|ling| water|,| oh||"
    assert [part async for part in model.astream("sing")] == [*TOKENS, "", ""]
    assert await model.ainvoke("sing") == "".join(TOKENS)
    assert model.invoke("sing") == "".join(TOKENS)
    assert provider.requests[0].path == "/v1/completions"
    assert provider.requests[0].body["prompt"] == "sing"


@pytest.mark.filterwarnings("ignore:astream_events version='v1'")
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_astream_events(provider: Provider, version: Any) -> None:
    """``astream_events`` tells start, every token and end, in both of LangChain's versions."""
    provider.default = Reply(tokens=TOKENS)
    model = model_of(provider, tags=["song"])
    events = [event async for event in model.astream_events("sing", version=version)]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "on_llm_start"
    assert kinds[-1] == "on_llm_end"
    said = [event["data"]["chunk"] for event in events if event["event"] == "on_llm_stream"]
    text = "".join(part if isinstance(part, str) else part.text for part in said)
    assert text == "".join(TOKENS)
    assert len(said) >= len(TOKENS)
    assert version == "v1" or all("song" in event["tags"] for event in events)


@pytest.mark.parametrize("call", ["ainvoke", "astream", "invoke"])
@pytest.mark.parametrize("mode", ["messages", ["messages", "updates"]])
async def test_tokens_in_a_graph(provider: Provider, call: str, mode: Any) -> None:
    """In ``messages`` mode they come in the one shape, tagged and filtered like any other's."""
    provider.default = Reply(tokens=TOKENS)
    models = [model_of(provider, tags=[name]) for name in ("song", "other")]
    graph = graph_of(*models, call=call)
    parts = [part async for part in astream(graph, {}, only=tag("song"), stream_mode=mode)]
    tokens = parts if mode == "messages" else [part for name, part in parts if name == "messages"]
    assert [chunk.content for chunk, _ in tokens if chunk.content] == TOKENS
    assert all(isinstance(chunk, AIMessageChunk) for chunk, _ in tokens)
    assert len({chunk.id for chunk, _ in tokens}) == 1
    metadata = tokens[0][1]
    assert metadata["tags"] == ["song"]
    assert metadata["langgraph_node"] == "sing0"
    assert (metadata["ls_provider"], metadata["ls_model_type"]) == ("openai", "llm")
    if mode != "messages":
        assert next(part for name, part in parts if name == "updates") == {
            "sing0": {"song": "".join(TOKENS)}
        }


def test_tokens_by_the_sync_stream(provider: Provider) -> None:
    """The sync ``stream`` carries them too."""
    provider.default = Reply(tokens=TOKENS)
    model = model_of(provider)

    def sing(state: State, config: RunnableConfig) -> State:
        return {"song": model.invoke("sing", config)}

    builder = StateGraph(State)
    builder.add_node("sing", sing)
    builder.add_edge(START, "sing")
    tokens = list(stream(builder.compile(), {}))
    assert [chunk.content for chunk, _ in tokens if chunk.content] == TOKENS


async def test_collected_it_is_a_message_with_usage(provider: Provider) -> None:
    """The chunks add up to a message with its finish reason and usage."""
    provider.default = Reply(tokens=TOKENS, finish_reason="length")
    [(message, _)] = await collect(astream(graph_of(model_of(provider)), {}))
    assert isinstance(message, AIMessage)
    assert message.content == "".join(TOKENS)
    assert message.response_metadata["finish_reason"] == "length"
    assert message.usage_metadata == {"input_tokens": 1, "output_tokens": 5, "total_tokens": 6}


async def test_subgraphs_and_nostream(provider: Provider) -> None:
    """Subgraphs stream when asked to, with their namespace; ``nostream`` never streams."""
    provider.default = Reply(tokens=TOKENS)
    inner = graph_of(model_of(provider), model_of(provider, tags=["nostream"]))
    builder = StateGraph(State)
    builder.add_node("inner", inner)
    builder.add_edge(START, "inner")
    outer = builder.compile()
    modes: list[StreamMode | list[StreamMode]] = ["messages", ["messages", "custom"]]
    for mode in modes:
        assert [part async for part in astream(outer, {}, stream_mode=mode)] == []
        parts = [p async for p in astream(outer, {}, stream_mode=mode, subgraphs=True)]
        assert {part[0][0].partition(":")[0] for part in parts} == {"inner"}
        assert [part[-1][0].content for part in parts if part[-1][0].content] == TOKENS


class Oracle(LLM):
    """A completion model without token streaming."""

    @property
    def _llm_type(self) -> str:
        return "oracle"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return "forty-two"


@pytest.mark.parametrize("mode", ["messages", ["messages", "updates"]])
async def test_a_model_that_cannot_stream_gives_one_chunk(mode: Any) -> None:
    """Its whole answer comes once, in the same shape, and the meter says that it did not stream."""
    graph = graph_of(Oracle(tags=["oracle"]))
    meter = Meter()
    parts = [part async for part in astream(graph, {}, stream_mode=mode)]
    tokens = parts if mode == "messages" else [part for name, part in parts if name == "messages"]
    [(message, metadata)] = tokens
    meter.feed(message, metadata)
    assert message.content == "forty-two"
    assert metadata["tags"] == ["oracle"]
    assert meter.report().by_tag["oracle"].not_streamed == 1
    assert "not streamed" in str(meter.report())


async def test_errors_tell_the_story(provider: Provider) -> None:
    """A cut connection is raised at the reader after the tokens before it, with the count."""
    provider.default = Reply(tokens=TOKENS, cut_after=3, cut="reset")
    got = []
    with pytest.raises(StreamError) as caught:
        async for chunk, _ in astream(graph_of(model_of(provider, max_retries=0)), {}):
            got.append(chunk.content)
    assert got == TOKENS[: len(got)]
    assert (caught.value.model, caught.value.chunks) == ("gpt-3.5-turbo-instruct", len(got))
    assert caught.value.node == "sing0"


def test_one_model_in_many_loops(provider: Provider) -> None:
    """A model made once works in one ``asyncio.run`` after the other."""
    provider.default = Reply(tokens=TOKENS)
    model = model_of(provider)
    for _ in range(3):
        assert asyncio.run(model.ainvoke("sing")) == "".join(TOKENS)


async def test_leaving_closes_the_connection(provider: Provider) -> None:
    """Leaving a stream in its middle leaves the provider at once."""
    provider.default = Reply(tokens=TOKENS, stall_after=2)
    async with astream(graph_of(model_of(provider)), {}) as tokens:
        async for _ in tokens:
            break
    [request] = provider.requests
    await request.aclosed(60)
    assert request.state == "client_left"


async def test_a_slow_reader_holds_the_model_back(provider: Provider) -> None:
    """Backpressure holds for completions too, whichever way the chunks take."""
    provider.default = Reply(tokens=100_000)
    modes: list[StreamMode | list[StreamMode]] = ["messages", ["messages", "updates"]]
    for mode in modes:
        seen = len(provider.requests)
        async with astream(graph_of(model_of(provider)), {}, buffer=4, stream_mode=mode) as tokens:
            async for _ in tokens:
                break
            for _ in range(50):
                await asyncio.sleep(0)
            assert tokens.statistics().waiting <= 6
        await provider.requests[seen].aclosed(60)
        assert provider.requests[seen].tokens_written < 50_000


async def test_several_completions_cannot_be_streamed(provider: Provider) -> None:
    """``n=2`` cannot share a stream: streaming says so; in a graph it comes whole, not garbled."""
    model = model_of(provider, n=2)
    with pytest.raises(ValueError, match="leave n and best_of at 1"):
        [part async for part in model.astream("sing")]


def test_names_without_completions() -> None:
    """A provider that has none is refused with those that have."""
    with pytest.raises(ModelNameError, match="has no completions here: give openai:MODEL"):
        completion_model("anthropic:claude-sonnet-4-5")


@pytest.mark.local
async def test_the_embedded_model_completes() -> None:
    """llama.cpp's own ``/v1/completions`` streams tokens, in a graph too."""
    model = completion_model("local:smollm2", tags=["song"], max_tokens=12)
    parts = [part async for part in model.astream("Roses are red,")]
    assert len([part for part in parts if part]) > 3
    meter = Meter()
    async for chunk, metadata in meter.watch(astream(graph_of(model), {})):
        assert isinstance(chunk, AIMessageChunk)
        assert metadata["ls_provider"] == "llama.cpp"
    report = meter.report().by_tag["song"]
    # The model ends where it likes, within max_tokens; its end token counts, but has no text.
    assert report.output_tokens is not None
    assert 3 < report.tokens <= report.output_tokens <= 12
