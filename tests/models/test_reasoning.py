"""Reasoning of OpenAI-compatible endpoints: kept, in standard blocks, filtered, never sent back."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.block_translators import get_translator, openai
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph

from tokenweir.models.chat import chat_model
from tokenweir.streaming.collect import collect
from tokenweir.streaming.filters import reasoning, tag, text
from tokenweir.streaming.stream import astream
from tokenweir.testing import Provider, Reply

REPLY = Reply(tokens=["Four", "."], reasoning=["Two", " and", " two"], reasoning_field="reasoning")
BLOCKS = [{"type": "reasoning", "reasoning": "Two and two"}, {"type": "text", "text": "Four."}]


def model_of(provider: Provider, **kwargs: Any) -> Any:
    return chat_model("openai:qwq", base_url=provider.base_url, api_key="test", **kwargs)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_is_kept(provider: Provider, field: Any) -> None:
    """Streamed or not, under either name, it is a standard block; ``content`` stays a string."""
    provider.default = Reply(
        tokens=["Four", "."], reasoning=["Two", " and", " two"], reasoning_field=field
    )
    model = model_of(provider)
    chunks = [chunk async for chunk in model.astream("2 + 2?")]
    assert [c.content for c in chunks if c.content] == ["Four", "."]
    assert [
        b["reasoning"] for c in chunks for b in c.content_blocks if b["type"] == "reasoning"
    ] == [
        "Two",
        " and",
        " two",
    ]
    whole: AIMessageChunk = chunks[0] + chunks[1:]
    assert whole.content == "Four."
    assert whole.content_blocks == BLOCKS
    assert list(model.stream("2 + 2?"))[1].content_blocks == chunks[1].content_blocks
    for message in (await model.ainvoke("2 + 2?"), model.invoke("2 + 2?")):
        assert message.content == "Four."
        assert message.content_blocks == BLOCKS


async def test_reasoning_before_json(provider: Provider) -> None:
    """In JSON mode LangChain repeats the whole answer at the end; reasoning is kept once."""
    provider.default = Reply(tokens=['{"a"', ": 1}"], reasoning=["Two", " and", " two"])
    model = model_of(provider).bind(response_format={"type": "json_object"})
    first, *rest = [chunk async for chunk in model.astream("2 + 2?")]
    whole: AIMessageChunk = first + rest
    assert whole.content_blocks[0] == BLOCKS[0]
    assert whole.content == '{"a": 1}'


def test_langchains_translators_stay() -> None:
    """Importing us changes nothing for ChatOpenAI: its translator is LangChain's."""
    assert get_translator("openai") == {
        "translate_content": openai.translate_content,
        "translate_content_chunk": openai.translate_content_chunk,
    }


async def test_a_model_that_does_not_reason_is_as_before(provider: Provider) -> None:
    """Without reasoning there is no block of it, and nothing in ``additional_kwargs``."""
    provider.default = Reply("Four.")
    message = await model_of(provider).ainvoke("2 + 2?")
    assert message.content_blocks == [{"type": "text", "text": "Four."}]
    assert "reasoning_content" not in message.additional_kwargs


async def test_reasoning_is_not_sent_back(provider: Provider) -> None:
    """As history it is plain text: endpoints refuse or charge for reasoning that they are sent."""
    provider.default = REPLY
    model = model_of(provider)
    first = await model.ainvoke("2 + 2?")
    await model.ainvoke([HumanMessage("2 + 2?"), first, HumanMessage("sure?")])
    sent = provider.requests[-1].body["messages"][1]
    assert sent == {"role": "assistant", "content": "Four."}


def graph_of(model: Any) -> Any:
    async def answer(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    return builder.compile()


@pytest.mark.filterwarnings("ignore:nothing passed the filter")
@pytest.mark.parametrize("mode", ["messages", ["messages", "updates"]])
async def test_in_a_graph_it_can_be_filtered(provider: Provider, mode: Any) -> None:
    """``only=text`` and ``only=reasoning`` divide a call, taken straight or by LangGraph's way."""
    provider.default = REPLY
    graph = graph_of(model_of(provider, tags=["sum"]))
    inputs = {"messages": [("user", "2 + 2?")]}

    async def tokens(only: Any) -> list[BaseMessage]:
        parts = [part async for part in astream(graph, inputs, only=only, stream_mode=mode)]
        if mode == "messages":
            return [part[0] for part in parts]
        return [part[1][0] for part in parts if part[0] == "messages"]

    assert [chunk.content for chunk in await tokens(text)] == ["Four", "."]
    thoughts = await tokens("reasoning & tag:sum")
    assert [chunk.additional_kwargs["reasoning_content"] for chunk in thoughts] == [
        "Two",
        " and",
        " two",
    ]
    assert await tokens(reasoning & ~tag("sum")) == []
    rest = await tokens(~(text | reasoning))
    assert rest
    assert not any(chunk.content for chunk in rest)


async def test_collected_it_is_whole(provider: Provider) -> None:
    """The chunks of a call add up to the message that the node got, reasoning included."""
    provider.default = REPLY
    graph = graph_of(model_of(provider))
    [(message, _)] = await collect(astream(graph, {"messages": [("user", "2 + 2?")]}))
    assert isinstance(message, AIMessage)
    assert message.content_blocks == BLOCKS
    assert message.content == "Four."
