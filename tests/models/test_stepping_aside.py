"""Calls that LangChain makes by itself on our model, and what it streams of them: the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import StreamMode
from pydantic import BaseModel, SecretStr

from tests.bare_server import bare_server
from tests.models.alike import as_openais
from tokenweir.models.chat import ChatModel
from tokenweir.streaming.stream import astream
from tokenweir.testing import Provider, Reply, ToolCall, without_run_ids

INPUT: Any = {"messages": [("user", "hello")]}

WHOLE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-4o-mini",
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "metadata": {},
    "tool_choice": "auto",
    "tools": [],
    "parallel_tool_calls": True,
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Well then", "annotations": []}],
        }
    ],
    "usage": {
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
}
DELTA = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
RESPONSE: list[dict[str, Any]] = [
    {"type": "response.created", "response": {**WHOLE, "status": "in_progress", "output": []}},
    {"type": "response.output_text.delta", **DELTA, "delta": "Well"},
    {"type": "response.output_text.delta", **DELTA, "delta": " then"},
    {"type": "response.completed", "response": WHOLE},
]


@asynccontextmanager
async def responses_api() -> AsyncIterator[str]:
    """A server that gives the same answer of OpenAI's Responses API to whatever it is asked."""

    async def answer(
        head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert b"/responses" in head
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        writer.write(b"connection: close\r\n\r\n")
        for number, event in enumerate(RESPONSE):
            data = json.dumps({**event, "sequence_number": number})
            writer.write(f"event: {event['type']}\ndata: {data}\n\n".encode())
        await writer.drain()

    async with bare_server(answer) as base_url:
        yield base_url


async def streamed(own: bool, base_url: str, bind: Any, **kwargs: Any) -> Any:
    """What a graph streams whose node calls the model: ours in ours, LangChain's in LangGraph's."""
    arguments: Any = {
        "model": "gpt-4o-mini",
        "base_url": base_url,
        "api_key": SecretStr("test"),
        "tags": ["joke"],
        **kwargs,
    }
    async with openai.DefaultAsyncHttpxClient() as http:
        model: Any = (
            ChatModel(**arguments) if own else ChatOpenAI(**arguments, http_async_client=http)
        )
        called = bind(model)

        async def ask(state: MessagesState, config: RunnableConfig) -> Any:
            said = await called.ainvoke(state["messages"], config)
            return {"messages": [said if hasattr(said, "content") else ("ai", repr(said))]}

        graph: Any = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
        modes: list[StreamMode] = ["messages", "values"]
        parts: Any = (
            astream(graph, INPUT, stream_mode=modes)
            if own
            else graph.astream(INPUT, stream_mode=modes)
        )
        return as_openais(without_run_ids([part async for part in parts]))


async def test_the_responses_api() -> None:
    """Its events are another protocol, which LangChain reads: chunks and message are the same."""

    def itself(model: Any) -> Any:
        return model

    async with responses_api() as base_url:
        settings: Any = {"use_responses_api": True, "streaming": True}
        ours = await streamed(True, base_url, itself, **settings)
        theirs = await streamed(False, base_url, itself, **settings)
    assert ours == theirs
    assert "Well" in str(ours)
    assert len(ours) > 4


class Joke(BaseModel):
    """A joke."""

    setup: str
    laugh: int


@pytest.mark.filterwarnings("ignore:Pydantic serializer:UserWarning")  # LangChain's own
@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
async def test_structured_output(provider: Provider, method: str) -> None:
    """Whether by a schema, in JSON mode or by a tool: both paths stream and parse alike."""
    answer = '{"setup": "why", "laugh": 3}'
    provider.default = Reply(answer, usage="always")
    if method == "function_calling":
        provider.default = Reply(tool_calls=[ToolCall("Joke", answer, pieces=4)], usage="always")

    def bind(model: Any) -> Any:
        return model.with_structured_output(Joke, method=method)

    ours = await streamed(True, provider.base_url, bind)
    theirs = await streamed(False, provider.base_url, bind)
    assert ours == theirs
    assert "Joke(setup='why', laugh=3)" in str(ours)


@pytest.mark.parametrize("how", ["wrapped", "replaced"])
async def test_a_method_that_somebody_has_put_in_place(provider: Provider, how: str) -> None:
    """It makes the calls, in a graph and without one."""
    model = ChatModel(model="m", base_url=provider.base_url, api_key=SecretStr("test"))
    theirs, asked = model.async_client.create, list[Any]()

    async def create(*args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs["messages"])
        return await theirs(*args, **kwargs)

    if how == "wrapped":
        model.async_client.create = create
    else:
        model.async_client = SimpleNamespace(create=create)

    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    graph: Any = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
    said = [chunk.content async for chunk, _ in astream(graph, INPUT)]
    assert "".join(said) == "You said: hello"
    assert "".join([str(chunk.content) async for chunk in model.astream("hi")]) == "You said: hi"
    assert len(asked) == 2
