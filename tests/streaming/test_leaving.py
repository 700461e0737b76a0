"""Promise 5: leaving a stream closes its provider's connections at once, and nothing leaks.

The provider writes a token every 50 ms for ever, so whatever is still open would be seen.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import anyio
import pytest
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Send
from pydantic import SecretStr

from tokenweir.models.chat import chat_model
from tokenweir.streaming.filters import tag
from tokenweir.streaming.lanes import lanes
from tokenweir.streaming.stream import astream, stream
from tokenweir.testing import Provider, Reply

INPUT: Any = {"messages": [("user", "hello")]}
ENDLESS = Reply(tokens=100_000, every=0.05)
A_FEW = 6
"""Tokens that a request may still be written after its reader has gone: at most 0.3 s of them."""


def ours(provider: Provider) -> Any:
    return chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test")


def plain(provider: Provider) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4o-mini", base_url=provider.base_url, api_key=SecretStr("test"))


def asking(model: ChatOpenAI) -> Any:
    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke("say", config)]}

    return ask


def one_node(model: ChatOpenAI) -> Any:
    return StateGraph(MessagesState).add_node("a", asking(model)).add_edge(START, "a").compile()


def parallel(model: ChatOpenAI) -> Any:
    builder = StateGraph(MessagesState)
    for name in ("a", "b", "c"):
        builder.add_node(name, asking(model)).add_edge(START, name)
    return builder.compile()


def fanned_out(model: ChatOpenAI) -> Any:
    builder = StateGraph(MessagesState).add_node("work", asking(model))
    builder.add_conditional_edges(START, lambda state: [Send("work", state)] * 3, ["work"])
    return builder.compile()


def nested(model: ChatOpenAI) -> Any:
    inner = StateGraph(MessagesState).add_node("in", parallel(model)).add_edge(START, "in")
    return (
        StateGraph(MessagesState).add_node("out", inner.compile()).add_edge(START, "out").compile()
    )


def in_a_thread(model: ChatOpenAI) -> Any:
    def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [model.invoke("say", config)]}

    return StateGraph(MessagesState).add_node("a", ask).add_edge(START, "a").compile()


GRAPHS = [one_node, parallel, fanned_out, nested]


async def leave_by_break(graph: Any, **kwargs: Any) -> None:
    async for _ in astream(graph, INPUT, subgraphs=True, **kwargs):
        break


async def leave_by_aclose(graph: Any, **kwargs: Any) -> None:
    tokens = astream(graph, INPUT, subgraphs=True, **kwargs)
    await tokens.__anext__()
    await tokens.aclose()


async def leave_by_error(graph: Any, **kwargs: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async with astream(graph, INPUT, subgraphs=True, **kwargs) as tokens:
            async for _ in tokens:
                raise ZeroDivisionError


async def leave_by_cancel(graph: Any, **kwargs: Any) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in astream(graph, INPUT, subgraphs=True, **kwargs):
            begun.set()

    reader = asyncio.create_task(read())
    await begun.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader


async def leave_by_timeout(graph: Any, **kwargs: Any) -> None:
    async def read() -> None:
        async for _ in astream(graph, INPUT, subgraphs=True, **kwargs):
            pass

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(read(), 0.2)


LEAVING = [leave_by_break, leave_by_aclose, leave_by_error, leave_by_cancel, leave_by_timeout]


def written(provider: Provider) -> dict[int, int]:
    """How many tokens each request was written so far, by its place among the requests."""
    return {place: request.tokens_written for place, request in enumerate(provider.requests)}


async def all_left(provider: Provider) -> None:
    """Every request's client has gone, and none is written much more to from here on."""
    already = written(provider)
    for place, request in enumerate(provider.requests):
        await request.aclosed(60)
        assert request.state == "client_left"
        assert request.tokens_written <= already.get(place, 0) + A_FEW


async def all_tasks_ended() -> None:
    """Nothing of the run is left; after a bare ``break`` its tasks may take a moment to unwind."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, pending = await asyncio.wait(left, timeout=60)
        assert pending == set()


@pytest.mark.parametrize("make_model", [ours, plain])
@pytest.mark.parametrize("make_graph", GRAPHS)
@pytest.mark.parametrize("leave", LEAVING)
async def test_leaving_closes_every_connection(
    provider: Provider, leave: Any, make_graph: Any, make_model: Any
) -> None:
    """However one leaves, in sequence, in parallel and in subgraphs, the providers are left."""
    provider.default = ENDLESS
    await leave(make_graph(make_model(provider)))
    await all_left(provider)
    await all_tasks_ended()


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_cancel])
async def test_leaving_a_stream_of_several_modes(provider: Provider, leave: Any) -> None:
    """Streams that take LangGraph's own way are left as promptly."""
    provider.default = ENDLESS
    await leave(parallel(ours(provider)), stream_mode=["messages", "updates"])
    await all_left(provider)
    await all_tasks_ended()


async def test_leaving_while_the_provider_is_silent(provider: Provider) -> None:
    """A provider that has stalled is left at once, too: no token need come first."""
    provider.default = Reply(tokens=100, stall_after=1)
    await leave_by_cancel(parallel(ours(provider)))
    await all_left(provider)


async def test_a_scope_that_cancels_again_and_again(provider: Provider) -> None:
    """As Starlette leaves a response: what parallel nodes have open is closed all the same."""
    provider.default = Reply(tokens=100, stall_after=1)
    with anyio.CancelScope() as scope:
        async with astream(parallel(ours(provider)), INPUT) as tokens:
            async for _ in tokens:
                scope.cancel()
    assert scope.cancelled_caught
    await all_left(provider)
    await all_tasks_ended()


@pytest.mark.parametrize("make_model", [ours, plain])
async def test_a_node_in_a_thread_stops_at_its_next_token(
    provider: Provider, make_model: Any
) -> None:
    """A sync node cannot be cancelled, but its next token finds that the reader has gone."""
    provider.default = ENDLESS
    await leave_by_break(in_a_thread(make_model(provider)))
    await all_left(provider)


@pytest.mark.parametrize("make_model", [ours, plain])
def test_leaving_a_sync_stream(provider: Provider, make_model: Any) -> None:
    """``break`` and ``close`` of a sync stream leave the provider within a few tokens."""
    provider.default = ENDLESS
    graph = in_a_thread(make_model(provider))
    for _ in stream(graph, INPUT):
        break
    tokens = stream(graph, INPUT)
    next(tokens)
    already = written(provider)
    tokens.close()
    for place, request in enumerate(provider.requests):
        request.wait_closed(60)
        assert request.state == "client_left"
        assert request.tokens_written <= already.get(place, 0) + A_FEW


def test_leaving_a_sync_stream_while_the_provider_is_silent(provider: Provider) -> None:
    """Our model's sync call is woken from a silent socket."""
    provider.default = Reply(tokens=100, stall_after=1)
    with stream(in_a_thread(ours(provider)), INPUT) as tokens:
        next(tokens)
    for request in provider.requests:
        request.wait_closed(60)
        assert request.state == "client_left"


async def test_closing_all_lanes_leaves_the_provider(provider: Provider) -> None:
    """Lanes over a stream pass their leaving on."""
    provider.default = ENDLESS
    first, second = lanes(astream(one_node(ours(provider)), INPUT), tag("x"), ~tag("x"))
    async for _ in second:
        break
    await first.aclose()
    await second.aclose()
    await all_left(provider)


async def test_a_node_that_breaks_out_of_its_own_call(provider: Provider) -> None:
    """A node may leave a model call early: the provider is left while the graph goes on."""
    if sys.version_info < (3, 11):
        pytest.skip("this node leaves config to Python 3.11")
    provider.default = ENDLESS
    model = ours(provider)

    async def first_word(state: MessagesState) -> Any:
        async for chunk in model.astream("say"):
            if chunk.content:
                return {"messages": [("ai", chunk.content)]}
        return {}

    graph = StateGraph(MessagesState).add_node(first_word).add_edge(START, "first_word").compile()
    tokens = [token async for token in astream(graph, INPUT)]
    assert tokens
    await all_left(provider)
