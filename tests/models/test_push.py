"""Answers taken as they arrive: without a turn of the call's task, and as right as by turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import aiohttp
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import SecretStr

from tests.waiting import pause
from tokenweir.errors import FirstTokenTimeoutError, StreamError, TokenGapTimeoutError
from tokenweir.models._openai.aiohttp_transport import AiohttpBody
from tokenweir.models._openai.byte_source import AiohttpSource
from tokenweir.models.chat import ChatModel
from tokenweir.streaming.filters import Filter
from tokenweir.streaming.stream import astream
from tokenweir.testing import Provider, Reply

INPUT: Any = {"messages": [("user", "hello")]}
whose: ContextVar[str] = ContextVar("whose", default="nobody's")


def graph_of(provider: Provider, **kwargs: Any) -> Any:
    model = ChatModel(
        model="gpt-4o-mini", base_url=provider.base_url, api_key=SecretStr("test"), **kwargs
    )

    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        whose.set("the node's")
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    return StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()


class ByChunk(Filter):
    """A filter that looks at each chunk."""

    def __init__(self, look: Callable[[Any], bool]) -> None:
        super().__init__(lambda metadata: True)
        self._look = look

    def decide(self, metadata: Any) -> None:
        return None

    def __call__(self, metadata: Any, chunk: Any = None) -> bool:
        return self._look(chunk)


def words(number: int) -> list[str]:
    return [f"{index} " for index in range(number)]


async def test_tokens_wake_no_task(provider: Provider) -> None:
    """What arrives is handed on outside of any task, and still in the context of its node."""
    provider.default = Reply(tokens=words(50), every=0.002)
    seen: list[tuple[Any, str]] = []

    def look(message: Any) -> bool:
        seen.append((asyncio.current_task(), whose.get()))
        return True

    parts = astream(graph_of(provider), INPUT, only=ByChunk(look))
    texts = [str(chunk.content) async for chunk, _ in parts]

    assert "".join(texts) == "".join(words(50))
    assert sum(task is None for task, _ in seen) >= 40
    assert {context for _, context in seen} == {"the node's"}


@pytest.mark.parametrize("split", [None, 1, 7, ("random", 3)])
@pytest.mark.parametrize("every", [0.0, 0.001])
async def test_wherever_packets_end(provider: Provider, split: Any, every: float) -> None:
    """The text is whole however its bytes are cut, paced or not."""
    text = [f"wörd-{index} 漢 " for index in range(40)]
    provider.default = Reply(tokens=text, split=split, every=every)
    texts = [str(chunk.content) async for chunk, _ in astream(graph_of(provider), INPUT)]
    assert "".join(texts) == "".join(text)


async def test_a_filter_that_fails(provider: Provider) -> None:
    """An error of the reader's own filter ends the run with that error, at its token."""
    provider.default = Reply(tokens=words(50), every=0.002)
    read: list[str] = []

    def look(message: Any) -> bool:
        if message.content == "20 ":
            raise RuntimeError("the filter broke")
        return True

    parts = astream(graph_of(provider), INPUT, only=ByChunk(look))
    with pytest.raises(StreamError, match="the filter broke") as raised:
        async for chunk, _ in parts:
            read.append(str(chunk.content))

    assert "".join(read) == "".join(words(20))
    assert raised.value.chunks == 21  # with the opening


async def test_a_reader_that_pauses(provider: Provider) -> None:
    """A reader who pauses gets all that came meanwhile, once and in order; the buffer holds."""
    provider.default = Reply(tokens=words(2000))
    parts = astream(graph_of(provider), INPUT, buffer=4)
    read: list[str] = []
    most = 0
    async for chunk, _ in parts:
        read.append(str(chunk.content))
        if len(read) % 200 == 0:
            await pause(0.02)
        most = max(most, parts.statistics().waiting)

    assert "".join(read) == "".join(words(2000))
    assert most <= 6


async def test_a_pause_of_the_provider(provider: Provider) -> None:
    """The limit for the gap begins anew with each token, and runs out after the last."""
    graph = graph_of(provider, token_gap_timeout=0.4)
    provider.default = Reply(tokens=words(30), every=0.03)
    texts = [str(chunk.content) async for chunk, _ in astream(graph, INPUT)]
    assert "".join(texts) == "".join(words(30))

    provider.default = Reply(tokens=words(30), every=0.03, stall_after=20)
    with pytest.raises(TokenGapTimeoutError) as raised:
        async for _ in astream(graph, INPUT):
            pass
    assert raised.value.chunks == 20


@pytest.mark.parametrize("tokens", [["a ", *[""] * 500], [""] * 500], ids=["gap", "first token"])
@pytest.mark.parametrize("watched", [True, False])
async def test_empty_chunks_do_not_count(
    provider: Provider, tokens: list[str], watched: bool
) -> None:
    """A provider that sends empty chunks for ever breaks the limit for the next token."""
    graph = graph_of(provider, token_gap_timeout=0.3, first_token_timeout=0.3, max_retries=0)
    provider.default = Reply(tokens=tokens, every=0.02)
    with pytest.raises((TokenGapTimeoutError, FirstTokenTimeoutError)) as raised:
        async for _ in astream(graph, INPUT, only=None if watched else "tag:none"):
            pass
    assert raised.value.chunks == tokens.count("a ")


@pytest.mark.parametrize(
    "fault", [{"cut_after": 20}, {"cut_after": 20, "cut": "reset"}, {"error_after": 20}]
)
async def test_faults_after_tokens(provider: Provider, fault: dict[str, Any]) -> None:
    """A stream that breaks is an error after the tokens before it, and is not asked for again."""
    provider.default = Reply(tokens=words(50), every=0.002, **fault)
    read: list[str] = []
    with pytest.raises(StreamError) as raised:
        async for chunk, _ in astream(graph_of(provider), INPUT):
            read.append(str(chunk.content))
    assert "".join(read) == "".join(words(20))
    assert raised.value.chunks == 21  # with the opening
    assert len(provider.requests) == 1


async def test_a_reader_that_leaves(provider: Provider) -> None:
    """A reader who leaves in the middle ends the call; the provider sees it leave."""
    provider.default = Reply(tokens=words(5000), every=0.001)
    parts = astream(graph_of(provider), INPUT)
    async for chunk, _ in parts:
        if chunk.content == "30 ":
            break
    await parts.aclose()
    [request] = provider.requests
    await request.aclosed(60)
    assert request.state == "client_left"


async def test_bytes_between_giving_and_reading(provider: Provider) -> None:
    """Bytes after a refusal wait in the source; nothing is lost or given twice."""
    provider.default = Reply(tokens=words(200), every=0.001, split=11)
    taken: list[bytes] = []
    async with aiohttp.ClientSession() as session:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        url = f"{provider.base_url}/chat/completions"
        async with session.post(url, json=body) as response:
            source = AiohttpSource(None, AiohttpBody(response))

            def feed(data: bytes) -> bool:
                taken.append(data)
                return len(taken) % 5 != 0

            while True:
                if source.can_push:
                    await source.push(feed)
                if not (data := await source.receive()):
                    break
                taken.append(data)
    whole = b"".join(taken)
    assert whole.count(b"data: ") == 203
    assert whole.endswith(b"data: [DONE]\n\n")
    assert b"".join(whole.split(b"\n\n")).count(b'"content"') >= 200
