"""Promise 6: a slow reader slows its provider's socket, and memory stays bounded."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, StreamWriter
from pydantic import SecretStr

from tests.waiting import await_steady, pause, wait_steady
from tokenweir.models.chat import chat_model
from tokenweir.nodes.node import node
from tokenweir.streaming.stream import astream, stream
from tokenweir.testing import Provider, Reply

INPUT: Any = {"messages": [("user", "hello")]}
OFFERED = 100_000


def ours(provider: Provider) -> Any:
    return chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test")


def plain(provider: Provider) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4o-mini", base_url=provider.base_url, api_key=SecretStr("test"))


def graph_of(model: ChatOpenAI, *, nodes: int = 1, sync: bool = False) -> Any:
    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        await model.ainvoke("say", config)
        return {}

    def ask_sync(state: MessagesState, config: RunnableConfig) -> Any:
        model.invoke("say", config)
        return {}

    builder = StateGraph(MessagesState)
    for number in range(nodes):
        builder.add_node(f"n{number}", ask_sync if sync else ask).add_edge(START, f"n{number}")
    return builder.compile()


async def held(provider: Provider) -> int:
    """Wait until the provider cannot write any more; how many tokens it had written by then."""
    return await await_steady(lambda: sum(each.tokens_written for each in provider.requests))


@pytest.mark.parametrize("make_model", [ours, plain])
@pytest.mark.parametrize("mode", ["messages", ["messages", "updates"]], ids=str)
@pytest.mark.parametrize("sync_nodes", [False, True], ids=["async nodes", "sync nodes"])
async def test_a_reader_that_stops_stops_its_providers(
    provider: Provider, make_model: Any, mode: Any, sync_nodes: bool
) -> None:
    """When nobody reads, the providers are soon unable to write, and few chunks are held."""
    provider.default = Reply(tokens=OFFERED)
    graph = graph_of(make_model(provider), nodes=2, sync=sync_nodes)
    async with astream(graph, INPUT, stream_mode=mode, buffer=32) as tokens:
        await tokens.__anext__()
        assert await held(provider) < OFFERED / 2
        assert tokens.statistics().waiting <= 32 + 2
        for _ in range(1_000):
            await tokens.__anext__()
        assert tokens.statistics().waiting <= 32 + 2


@pytest.mark.parametrize("mode", ["updates", ["updates", "values"], ["custom"]], ids=str)
@pytest.mark.parametrize("sync_nodes", [False, True], ids=["async nodes", "sync nodes"])
async def test_a_reader_that_stops_stops_the_steps(mode: Any, sync_nodes: bool) -> None:
    """Without a model call there is a bound as well: the graph makes no more steps."""
    made = 0

    @node
    def step(state: MessagesState, writer: StreamWriter) -> Any:
        nonlocal made
        made += 1
        writer(made)
        return Command(goto="step" if made < 500 else "__end__")

    @node
    async def step_in_loop(state: MessagesState, writer: StreamWriter) -> Any:
        return step(state, writer)

    builder: Any = StateGraph(MessagesState).add_edge(START, "step")
    builder.add_node("step", step if sync_nodes else step_in_loop, destinations=("step",))
    config: Any = {"recursion_limit": 1_000}
    async with astream(builder.compile(), INPUT, config, stream_mode=mode, buffer=8) as parts:
        await parts.__anext__()
        assert await await_steady(lambda: made) < 20
        assert parts.statistics().waiting < 20
        async for _ in parts:
            pass
    assert made == 500


async def test_a_silent_reader_holds_memory_flat(provider: Provider) -> None:
    """Nobody reads, 100,000 tokens are on offer: what has come when the provider stops is small."""
    provider.default = Reply(tokens=OFFERED)
    graph = graph_of(ours(provider))
    tracemalloc.start()
    try:
        async with astream(graph, INPUT) as tokens:
            await tokens.__anext__()
            await held(provider)
            grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 10_000_000
    assert provider.requests[0].tokens_written < OFFERED / 2


async def test_nothing_is_lost_by_waiting(provider: Provider) -> None:
    """A reader slower than its provider still gets every token, in order."""
    words = [f" {number}" for number in range(3_000)]
    provider.default = Reply(tokens=words)
    text = []
    async for chunk, _ in astream(graph_of(ours(provider)), INPUT, buffer=3):
        text.append(str(chunk.content))
        if len(text) % 100 == 0:
            await pause(0.001)
    assert "".join(text) == "".join(words)


def test_a_sync_reader_that_stops_stops_its_provider(provider: Provider) -> None:
    """``stream`` holds its provider back as well."""
    provider.default = Reply(tokens=OFFERED)
    with stream(graph_of(ours(provider), sync=True), INPUT, buffer=32) as tokens:
        next(tokens)
        assert wait_steady(lambda: provider.requests[0].tokens_written) < OFFERED / 2
        assert tokens.statistics().waiting <= 32 + 1
