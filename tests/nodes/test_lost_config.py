"""Promise 9: before Python 3.11, a call that streams nothing because its config was lost is told.

On Python 3.11 and later the same graphs stream, and nothing is ever said.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseLLM, GenericFakeChatModel
from langchain_core.language_models.fake import FakeStreamingListLLM
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph

from tokenweir.errors import MissingConfigWarning
from tokenweir.models.chat import ChatModel
from tokenweir.nodes.node import node
from tokenweir.streaming.stream import astream, stream

INPUT: Any = {"messages": [("user", "hello")]}
LOSES = sys.version_info < (3, 11)
SAID = "You said: hello"


@pytest.fixture
def told() -> Iterator[list[warnings.WarningMessage]]:
    """What was warned about."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


@pytest.fixture
def name() -> str:
    """A name that no other test's node has: each node is warned about once per process."""
    return f"ask_{uuid4().hex[:6]}"


def calling(model: Any) -> Any:
    async def ask(state: MessagesState) -> Any:
        await model.ainvoke(state["messages"])
        return {}

    return ask


def calling_twice(model: Any) -> Any:
    async def ask(state: MessagesState) -> Any:
        await model.ainvoke(state["messages"])
        async for _ in model.astream(state["messages"]):
            pass
        return {}

    return ask


def streaming(model: Any) -> Any:
    async def ask(state: MessagesState) -> Any:
        async for _ in model.astream(state["messages"]):
            pass
        return {}

    return ask


def in_a_chain(model: Any) -> Any:
    async def ask(state: MessagesState) -> Any:
        await (model | (lambda message: message.content)).ainvoke(state["messages"])
        return {}

    return ask


def in_a_task(model: Any) -> Any:
    async def ask(state: MessagesState) -> Any:
        await asyncio.gather(model.ainvoke(state["messages"]))
        return {}

    return ask


async def by_us(graph: Any) -> list[Any]:
    return [token async for token in astream(graph, INPUT)]


async def by_us_in_modes(graph: Any) -> list[Any]:
    parts = astream(graph, INPUT, stream_mode=["messages", "updates"])
    return [part async for mode, part in parts if mode == "messages"]


async def by_langgraph(graph: Any) -> list[Any]:
    return [token async for token in graph.astream(INPUT, stream_mode="messages")]


def foreign() -> Any:
    """A LangChain model that is none of ours."""
    return GenericFakeChatModel(messages=iter([AIMessage(SAID), AIMessage(SAID)]))


def check(told: list[warnings.WarningMessage], name: str, text: str, said: str = SAID) -> None:
    """On 3.10 one warning that names the node and both fixes; later the tokens and none."""
    if not LOSES:
        assert text == said
        assert told == []
        return
    assert text == ""
    (warning,) = told
    assert warning.category is MissingConfigWarning
    message = str(warning.message)
    assert f"model call in node {name!r}" in message
    assert "model.ainvoke(messages, config)" in message
    assert "@tokenweir.node" in message
    assert "read tokenweir.stream instead" in message


async def test_an_agents_tokens_come_in_the_stream_that_the_warning_names(
    model: ChatModel, told: list[warnings.WarningMessage]
) -> None:
    """Nobody can change the nodes of ``create_agent``, but its sync stream finds the config."""
    agent: Any = create_agent(model, [])
    whole = [chunk.text async for chunk, _ in astream(agent, INPUT)]
    parts = [chunk.text for chunk, _ in await asyncio.to_thread(list, stream(agent, INPUT))]
    assert "".join(whole) == "".join(parts) == SAID
    assert [text for text in parts if text] == ["You", " said:", " hello"]
    if LOSES:
        assert whole == [SAID]  # the node's answer, at its end
        assert "read tokenweir.stream instead" in str(told[0].message)


@pytest.mark.parametrize("make", [calling, streaming])
async def test_our_model_notices_in_langgraphs_own_stream(
    model: ChatModel, one_node: Any, streamed: Any, told: Any, name: str, make: Any
) -> None:
    """A ``ChatModel`` that a node calls itself (not in a task or chain) notices by itself."""
    graph = one_node(make(model), name)
    check(told, name, streamed(await by_langgraph(graph)))


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("read", [by_us, by_us_in_modes])
@pytest.mark.parametrize("make", [calling, streaming, in_a_chain, in_a_task])
async def test_our_stream_watches_any_model(
    model: ChatModel,
    one_node: Any,
    streamed: Any,
    told: Any,
    name: str,
    make: Any,
    read: Any,
    ours: bool,
) -> None:
    """In our ``astream`` the calls of any LangChain chat model are watched, however made."""
    graph = one_node(make(model if ours else foreign()), name)
    check(told, name, streamed(await read(graph)))


async def test_a_completion_model_is_watched_too(one_node: Any, told: Any, name: str) -> None:
    """Models that are asked for text, not for a message, lose their config just the same."""
    model: BaseLLM = FakeStreamingListLLM(responses=[SAID])
    text = "".join(str(chunk.content) for chunk, _ in await by_us(one_node(calling(model), name)))
    check(told, name, text, "" if LOSES else text)


async def test_a_node_is_warned_about_once(
    model: ChatModel, one_node: Any, told: Any, name: str
) -> None:
    """Two calls in a node and two runs of a graph make one warning; another node its own."""
    graph = one_node(calling_twice(model), name)
    await by_us(graph)
    await by_us(graph)
    await by_langgraph(graph)
    assert len(told) == (1 if LOSES else 0)
    await by_us(one_node(calling_twice(model), f"other_{name}"))
    assert len(told) == (2 if LOSES else 0)


async def test_two_nodes_at_once_are_told_apart(model: ChatModel, told: Any, name: str) -> None:
    """Only the node that lost its config is named, though the other one runs beside it."""

    async def careful(state: MessagesState, config: RunnableConfig) -> Any:
        await model.ainvoke(state["messages"], config)
        return {}

    builder = StateGraph(MessagesState).add_node(name, calling(model)).add_edge(START, name)
    builder.add_node("careful", careful).add_edge(START, "careful")
    await by_us(builder.compile())
    assert [name in str(warning.message) for warning in told] == ([True] if LOSES else [])


async def test_a_node_of_a_subgraph_is_named(
    model: ChatModel, one_node: Any, told: Any, name: str
) -> None:
    """In a subgraph it is the inner node that is at fault."""
    await by_us(one_node(one_node(calling(model), name), "outer"))
    assert [repr(name) in str(warning.message) for warning in told] == ([True] if LOSES else [])


async def test_a_warning_made_an_error_reaches_the_reader(
    model: ChatModel, one_node: Any, name: str
) -> None:
    """Under ``-W error`` the run fails by it: a callback's exception is not swallowed."""
    if not LOSES:
        assert await by_us(one_node(calling(model), name))
        return
    for make in (lambda: model, foreign):
        with pytest.raises(MissingConfigWarning, match=name):
            await by_us(one_node(calling(make()), f"{name}_{make.__name__.strip('<>')}"))


def with_decorator(model: Any) -> Any:
    return node(calling(model))


def with_config(model: Any) -> Any:
    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        await model.ainvoke(state["messages"], config)
        return {}

    return ask


def with_config_in_a_chain(model: Any) -> Any:
    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        await (model | (lambda message: message.content)).ainvoke(state["messages"], config)
        return {}

    return ask


def sync(model: Any) -> Any:
    def ask(state: MessagesState) -> Any:
        model.invoke(state["messages"])
        return {}

    return ask


@pytest.mark.parametrize("read", [by_us, by_us_in_modes, by_langgraph])
@pytest.mark.parametrize("make", [with_decorator, with_config, with_config_in_a_chain])
@pytest.mark.parametrize("ours", [True, False])
async def test_what_streams_is_not_warned_about(
    model: ChatModel,
    one_node: Any,
    streamed: Any,
    told: Any,
    name: str,
    make: Any,
    read: Any,
    ours: bool,
) -> None:
    """Where config is passed on, by hand or by ``@node``, the tokens come and nothing is said."""
    graph = one_node(make(model if ours else foreign()), name)
    assert streamed(await read(graph)) == SAID
    assert told == []


@pytest.mark.parametrize("ours", [True, False])
def test_sync_nodes_lose_nothing(
    model: ChatModel, one_node: Any, streamed: Any, told: Any, name: str, ours: bool
) -> None:
    """A sync node has its config on every Python."""
    graph = one_node(sync(model if ours else foreign()), name)
    assert streamed(list(stream(graph, INPUT))) == SAID
    assert told == []


async def test_models_outside_of_graphs_are_left_alone(model: ChatModel, told: Any) -> None:
    """A call that belongs to no node needs no config."""
    assert (await model.ainvoke("hello")).content == SAID
    assert [chunk async for chunk in model.astream("hello")]
    assert told == []
