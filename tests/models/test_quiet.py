"""Calls that no filter passes: read seldom, and still whole, within limits, and told of faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import SecretStr

from tests.waiting import pause
from tokenweir.errors import TokenGapTimeoutError
from tokenweir.models._calls.deadlines import Deadline
from tokenweir.models._calls.policy import CallPolicy
from tokenweir.models._calls.state import CallState
from tokenweir.models._openai.byte_source import MAX_DELAY, open_source
from tokenweir.models._openai.parser import ChatParser
from tokenweir.models.chat import ChatModel
from tokenweir.streaming.stream import astream
from tokenweir.testing import Provider, RecordedRequest, Reply, without_run_ids

INPUT: Any = {"messages": [("user", "hello")]}
MANY = 16
LONG = Reply(tokens=100, every=0.01, usage="always")
"""Takes a second, so that its connection is left alone several times."""


def model_of(provider: Provider, **kwargs: Any) -> ChatModel:
    return ChatModel(
        model="gpt-4o-mini",
        base_url=provider.base_url,
        api_key=SecretStr("test"),
        tags=["joke"],
        **kwargs,
    )


def graph_of(model: ChatModel, **kwargs: Any) -> Any:
    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config, **kwargs)]}

    return StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()


async def read(graph: Any, only: str) -> list[Any]:
    both = astream(graph, INPUT, only=only, stream_mode=["messages", "values"])
    return [part async for part in both]


async def opened(
    model: ChatModel, *, coalesce: bool = True, asking: str = "hello", **options: Any
) -> Any:
    messages = [{"role": "user", "content": asking}]
    response = await model.root_async_client.post(
        "/chat/completions",
        body={"model": "gpt-4o-mini", "messages": messages, "stream": True},
        options={"security": {"bearer_auth": True}, **options},
        cast_to=httpx2.Response,
        stream=True,
    )
    return open_source(response, coalesce=coalesce)


def asked_for(provider: Provider) -> list[RecordedRequest]:
    """The requests of the test itself."""
    return [request for request in provider.requests if request.prompt == "hello"]


async def items_of(source: Any, found: list[Any]) -> None:
    parser = ChatParser()
    while data := await source.receive():
        found.extend(parser.feed(data))
        source.ending = parser.ended


async def left_alone(source: Any, found: list[Any]) -> bool:
    """Read a stream to its end; whether its connection was not read at some moment."""
    transport: Any = source._body.transport
    reading = asyncio.ensure_future(items_of(source, found))
    seen = False
    while not reading.done():
        seen |= not transport.is_reading()
        await asyncio.wait([reading], timeout=0.005)
    await reading
    assert transport.is_reading()
    return seen


@pytest.fixture
async def crowd(provider: Provider) -> AsyncIterator[None]:
    """As many calls that nobody watches as it takes for connections to be left alone."""
    provider.on("crowd", Reply(tokens=100_000, every=1))
    model = model_of(provider)
    streams = [await opened(model, asking="crowd") for _ in range(MANY)]
    readings = [asyncio.ensure_future(items_of(stream, [])) for stream in streams]
    yield
    for reading in readings:
        reading.cancel()
    await asyncio.wait(readings)
    for stream in streams:
        await stream.aclose()


@pytest.mark.usefixtures("crowd")
async def test_a_long_answer_is_left_alone(provider: Provider) -> None:
    """Its connection is not read for a while, and every event comes all the same, in order."""
    provider.default = LONG
    model = model_of(provider)
    watched: list[Any] = []
    quiet: list[Any] = []
    assert not await left_alone(await opened(model, coalesce=False), watched)
    assert await left_alone(await opened(model), quiet)
    assert [item for item in quiet if type(item) is str] == [
        item for item in watched if type(item) is str
    ]
    assert len(quiet) == len(watched)


async def test_one_among_few_is_read(provider: Provider) -> None:
    """Where there are few such calls, none ends later than it would."""
    provider.default = LONG
    found: list[Any] = []
    model = model_of(provider)
    assert not await left_alone(await opened(model), found)
    assert len([item for item in found if type(item) is str and item]) == 100


@pytest.mark.usefixtures("crowd")
@pytest.mark.filterwarnings("ignore:nothing passed the filter")
async def test_the_next_call_uses_the_same_connection(provider: Provider) -> None:
    """A connection that was left alone goes back to the others, and is read again."""
    provider.default = LONG
    graph = graph_of(model_of(provider))
    quiet = await read(graph, "tag:poem")
    provider.default = Reply(tokens=100, usage="always")
    watched = await read(graph, "tag:joke")
    assert len({request.connection for request in asked_for(provider)}) == 1
    assert len(asked_for(provider)) == 2
    assert [mode for mode, _ in quiet] == ["values", "values"]
    assert without_run_ids(quiet[-1]) == without_run_ids(watched[-1])


async def test_a_gap_is_the_providers() -> None:
    """Where bytes are handed on late, the limits are longer by that, or they would be ours."""
    state = CallState(CallPolicy(first_token=0.01, gap=0.01, retries=0), "openai", "gpt")
    deadline = Deadline(state, slack=5.0)
    await deadline.wait_for(pause(0.05))
    deadline.cancel()
    assert MAX_DELAY > 0


@pytest.mark.usefixtures("crowd")
async def test_a_calls_own_timeout(provider: Provider) -> None:
    """Where the HTTP client waits for bytes as well, it would take our silence for theirs."""
    provider.default = LONG
    model = model_of(provider)  # kept: a model that is let go of closes its connections
    source = await opened(model, timeout=60)
    found: list[Any] = []
    assert not await left_alone(source, found)
    assert len([item for item in found if type(item) is str and item]) == 100


@pytest.mark.usefixtures("crowd")
async def test_a_gap_that_is_too_long(provider: Provider) -> None:
    """A provider that falls silent is found out, with how much had come."""
    provider.default = Reply(tokens=100, every=0.01, stall_after=60)
    with pytest.raises(TokenGapTimeoutError) as caught:
        await read(graph_of(model_of(provider, token_gap_timeout=0.7)), "tag:poem")
    assert caught.value.chunks == 60


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize(
    "fault",
    [
        {"cut_after": 60},
        {"cut_after": 60, "cut": "reset"},
        {"cut_after": 60, "cut": "eof"},
        {"error_after": 60},
        {"garbage_after": 60},
    ],
    ids=["cut", "reset", "eof", "error", "garbage"],
)
async def test_faults(provider: Provider, fault: dict[str, Any]) -> None:
    """What breaks while nobody looks is told as it is to somebody who does."""
    provider.default = Reply(tokens=100, every=0.01, **fault)
    graph = graph_of(model_of(provider, max_retries=0))

    async def told(only: str) -> Any:
        with pytest.raises(Exception, match=r".") as caught:
            await read(graph, only)
        return type(caught.value), type(caught.value.__cause__)

    quiet = await told("tag:poem")
    assert quiet == await told("tag:joke")
    assert quiet[0] is not openai.APITimeoutError


@pytest.mark.usefixtures("crowd")
async def test_leaving_while_nobody_reads(provider: Provider) -> None:
    """Cancelling a call whose connection is left alone closes it."""
    provider.default = Reply(tokens=100_000, every=0.01)
    model = model_of(provider)
    source = await opened(model)
    transport: Any = source._body.transport
    reading = asyncio.ensure_future(items_of(source, []))
    while transport.is_reading():
        await asyncio.wait([reading], timeout=0.005)
        assert not reading.done()
    reading.cancel()
    await asyncio.wait([reading])
    await source.aclose()
    await asked_for(provider)[0].aclosed(60)
