"""A filter that nothing passes: said at the end of the run, whatever way its tokens come."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import StreamWriter

from tokenweir import (
    astream,
    chat_model,
    from_agent,
    from_node,
    from_tool,
    reasoning,
    stream,
    tag,
    write_tokens,
)
from tokenweir.errors import UnmatchedFilterWarning
from tokenweir.models.chat import ChatModel
from tokenweir.testing import Provider, Reply, ToolCall

OneNode = Callable[..., Any]

WAYS: list[dict[str, Any]] = [
    {},
    {"subgraphs": True},
    {"version": "v2"},
    {"stream_mode": ["messages", "updates"]},
    {"stream_mode": ["messages", "debug"], "version": "v2"},
]


@pytest.fixture
def graph(model: ChatModel, one_node: OneNode) -> Any:
    """A node that calls a model tagged ``joke``."""
    joke_model = model.model_copy(update={"tags": ["joke"]})

    def ask(state: Any, config: RunnableConfig) -> Any:
        return {"messages": [joke_model.invoke("a joke", config)]}

    return one_node(ask)


@pytest.mark.parametrize("options", WAYS)
async def test_it_names_what_there_was(graph: Any, options: dict[str, Any]) -> None:
    """One warning, at the reader's own line, with the filter and the tags, nodes and models."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async for _ in astream(graph, {"messages": []}, only=tag("jok"), **options):
            pass
        for _ in stream(graph, {"messages": []}, only="tag:jok", **options):
            pass
    assert [str(each.message) for each in caught] == 2 * [
        "nothing passed the filter tag:jok; there were tag:joke, node:ask, model:gpt-4o-mini"
    ]
    assert {Path(each.filename).name for each in caught} == {Path(__file__).name}


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("only", [tag("joke"), from_node("ask"), ~tag("poem"), reasoning])
async def test_silent_where_a_call_passed(graph: Any, only: Any, options: dict[str, Any]) -> None:
    """Nothing is said where a call passed, or where chunks decide and none of them did."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = [part async for part in astream(graph, {"messages": []}, only=only, **options)]
        parts += list(stream(graph, {"messages": []}, only=only, **options))
    assert parts or only is reasoning


async def test_what_nodes_write(one_node: OneNode) -> None:
    """The tokens that a node writes count as calls in ``custom`` mode."""

    async def words() -> Any:
        yield {"choices": [{"index": 0, "delta": {"content": "Why"}}]}

    async def ask(state: Any, config: RunnableConfig, writer: StreamWriter) -> Any:
        await write_tokens(words(), writer, config, tags=["joke"])

    graph = one_node(ask)
    modes: list[Any] = ["custom", ["custom"]]
    for mode in modes:
        with pytest.warns(UnmatchedFilterWarning, match=r"tag:jok; there were tag:joke, node:ask$"):
            async for _ in astream(graph, {"messages": []}, only="tag:jok", stream_mode=mode):
                pass
        parts = astream(graph, {"messages": []}, only="tag:joke", stream_mode=mode)
        assert [part async for part in parts]


async def test_a_graph_without_calls_says_nothing(one_node: OneNode) -> None:
    """Where no model was called there was nothing to pass, and nothing is said."""
    graph = one_node(lambda state: None)
    assert [part async for part in astream(graph, {"messages": []}, only=tag("joke"))] == []


async def test_messages_that_nodes_return(one_node: OneNode) -> None:
    """A filter for what a node returned is matched by it, though no model call passed."""
    graph = one_node(lambda state: {"messages": [AIMessage("done")]}, "finish")
    only = from_node("finish")
    assert len([part async for part in astream(graph, {"messages": []}, only=only)]) == 1


async def test_a_run_that_is_left_says_nothing(graph: Any) -> None:
    """A reader that goes before the end is not told what the rest would have been."""
    async with astream(
        graph, {"messages": []}, only=tag("jok"), stream_mode=["messages", "debug"]
    ) as s:
        await s.__anext__()


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="before Python 3.11 an async node does not know its config by itself",
)
@pytest.mark.parametrize("options", [each for each in WAYS if "subgraphs" not in each])
@pytest.mark.parametrize("only", ["tag:joke", "agent:comedian & text"])
async def test_an_agent_in_a_node(model: ChatModel, only: str, options: dict[str, Any]) -> None:
    """An agent that is a node is a subgraph: the warning names it and what streams it."""
    agent = create_agent(model.model_copy(update={"tags": ["joke"]}), name="comedian")
    builder: Any = StateGraph(MessagesState).add_node("stage", agent).add_edge(START, "stage")
    graph: Any = builder.compile()
    inputs = {"messages": [("user", "Go on.")]}
    with pytest.warns(UnmatchedFilterWarning, match="the subgraph stage made calls .* subgraphs=T"):
        parts: list[Any] = [part async for part in astream(graph, inputs, only=only, **options)]
    assert not [part for part in parts if isinstance(part, tuple) and part[0] == "messages"]
    with pytest.warns(UnmatchedFilterWarning, match="the subgraph stage made calls .* subgraphs=T"):
        list(stream(graph, inputs, only=only, **options))
    heard = [token async for _, token in astream(graph, inputs, only=only, subgraphs=True)]
    assert {metadata["lc_agent_name"] for _, metadata in heard} == {"comedian"}


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="before Python 3.11 an async node does not know its config by itself",
)
async def test_a_tools_results(provider: Provider) -> None:
    """``from_tool`` passes what a tool of that name returned, and nothing else."""

    def search(query: str) -> str:
        """Search."""
        return f"found {query}"

    provider.reply(Reply(tool_calls=[ToolCall("search", '{"query": "cats"}')]), "There are cats.")
    model = chat_model("openai:gpt-4o-mini", base_url=provider.base_url, api_key="test")
    agent: Any = create_agent(model, [search])
    inputs = {"messages": [("user", "cats?")]}
    results = [chunk async for chunk, _ in astream(agent, inputs, only=from_tool("search"))]
    assert [(chunk.type, chunk.content) for chunk in results] == [("tool", "found cats")]
    assert str(from_tool("search") & from_agent("a b")) == 'tool:search & agent:"a b"'
