"""How users call the public API. Type-checked by mypy and pyright, and never run.

``mistakes.py`` beside it holds the calls that are type errors.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypedDict

from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langgraph.func import entrypoint
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command, StreamMode, StreamPart
from typing_extensions import assert_type

from tokenweir import (
    Filter,
    Meter,
    StreamError,
    SyncTokenStream,
    Token,
    TokenStream,
    astream,
    collect,
    from_node,
    guard,
    in_namespace,
    lanes,
    objects,
    reasoning,
    show,
    stream,
    tag,
    text,
)
from tokenweir.types import Namespace, StreamStatistics


class State(TypedDict):
    topic: str


@dataclass
class Context:
    user: str


Graph = CompiledStateGraph[State, Context, State, State]


async def partials(graph: Graph) -> None:
    """Objects are of the type that was asked for, from an async stream as from a sync one."""
    assert_type(objects(astream(graph, {"topic": "cats"}), State), TokenStream[State])
    async for either in objects(astream(graph, {"topic": "cats"}), State | Context):
        print(either)
    assert_type(
        objects(stream(graph, {"topic": "cats"}), list[Context]), SyncTokenStream[list[Context]]
    )
    async for context in objects(astream(graph, {"topic": "cats"}), Context, tool="log_in"):
        assert_type(context.user, str)


async def guarded(graph: Graph) -> None:
    """A guard gives the kind of stream that it was given."""
    safe = guard(tag("answer"), "sk-", replacement="...")
    assert_type(safe(astream(graph, {"topic": "cats"})), TokenStream[Token])
    assert_type(safe(stream(graph, {"topic": "cats"})), SyncTokenStream[Token])


async def tokens(graph: Graph) -> None:
    """Tokens: the default. Everything that LangGraph's astream takes is accepted."""
    assert_type(astream(graph, {"topic": "cats"}), TokenStream[Token])
    assert_type(stream(graph, {"topic": "cats"}), SyncTokenStream[Token])
    async for chunk, metadata in astream(graph, {"topic": "cats"}, only=tag("joke"), buffer=8):
        assert_type(chunk, BaseMessage)
        assert_type(metadata, dict[str, Any])
    configured = astream(
        graph,
        {"topic": "cats"},
        {"configurable": {"thread_id": "1"}},
        only="tag:joke | node:write",
        context=Context("Ann"),
        durability="sync",
        interrupt_before=["write"],
        interrupt_after="*",
        output_keys="topic",
        print_mode="updates",
        control=None,
        debug=False,
    )
    assert_type(configured, TokenStream[Token])
    assert_type(astream(graph, Command(resume="yes")), TokenStream[Token])
    assert_type(
        astream(graph, None, only=lambda metadata: "ls_provider" in metadata), TokenStream[Token]
    )


def shapes(graph: Graph) -> None:
    """One name or several, with and without subgraphs, as tuples and as dicts."""
    assert_type(astream(graph, None, subgraphs=True), TokenStream[tuple[Namespace, Token]])
    assert_type(stream(graph, None, subgraphs=True), SyncTokenStream[tuple[Namespace, Token]])
    several = astream(graph, None, stream_mode=["messages", "updates"])
    assert_type(several, TokenStream[tuple[StreamMode, Any]])
    deep = astream(graph, None, stream_mode=("messages", "custom"), subgraphs=True)
    assert_type(deep, TokenStream[tuple[Namespace, StreamMode, Any]])
    assert_type(astream(graph, None, stream_mode="updates"), TokenStream[Any])
    assert_type(astream(graph, None, stream_mode=None), TokenStream[Any])
    parts = stream(graph, None, stream_mode=["messages", "values"], version="v2")
    assert_type(parts, SyncTokenStream[StreamPart[State, State]])
    for part in parts:
        if part["type"] == "messages":
            assert_type(part["data"][1], dict[str, Any])
        elif part["type"] == "values":
            assert_type(part["data"], State)


def other_graphs(bare: CompiledStateGraph[Any, Any, Any, Any], untyped: Any) -> None:
    """Remote graphs, graphs of the functional API, wrappers, and graphs without a type."""
    remote = RemoteGraph("joke", url="http://127.0.0.1:2024")
    options: dict[str, Any] = {"topic": "cats"}
    assert_type(astream(remote, options, context={"user": "Ann"}, headers={}), TokenStream[Any])
    assert_type(stream(remote, options, stream_mode="messages"), SyncTokenStream[Any])
    assert_type(astream(bare, options), TokenStream[Token])
    astream(untyped, options)

    @entrypoint()
    def workflow(topic: str) -> str:
        return topic

    astream(workflow, "cats")

    class Wrapper:
        async def astream(
            self, input: Any, config: Any = None, **kwargs: Any
        ) -> AsyncIterator[Any]:
            yield input

    astream(Wrapper(), options)


async def closing(graph: Graph) -> None:
    """Every stream can be entered, closed and asked for its statistics."""
    async with astream(graph, None) as running:
        assert_type(running, TokenStream[Token])
        assert_type(running.statistics(), StreamStatistics)
        await running.aclose()
    with stream(graph, None) as blocking:
        assert_type(blocking, SyncTokenStream[Token])
        blocking.close()
    meter = Meter()
    async with meter.watch(astream(graph, None)) as watched:
        assert_type(watched, TokenStream[Token])
        assert_type(watched.statistics(), StreamStatistics)
    assert_type(meter.watch(stream(graph, None)), SyncTokenStream[Token])
    (lane,) = lanes(meter.watch(astream(graph, None)), tag("joke"))
    assert_type(lane.statistics(), StreamStatistics)
    await lane.aclose()


async def messages(graph: Graph) -> None:
    """``collect`` gives each message its own type: a model's answer is an ``AIMessage``."""
    for message, metadata in await collect(astream(graph, None)):
        assert_type(metadata, dict[str, Any])
        if message.type == "ai":
            assert_type(message, AIMessage)
            assert_type(message.tool_calls, list[ToolCall])
        elif isinstance(message, ToolMessage):
            assert_type(message.tool_call_id, str)
    for message, _ in collect(stream(graph, None)):
        print(message.text)
    await show(astream(graph, None, subgraphs=True))
    show(stream(graph, None))


async def branches(graph: Graph) -> None:
    """Filters are one type, however they are made; lanes are streams of tokens."""
    only = (tag("joke") | from_node("write") & ~in_namespace("editor")) & (text | reasoning)
    assert_type(only, Filter)
    joke, poem = lanes(astream(graph, None), only, "tag:poem")
    assert_type(joke, TokenStream[Token])
    async with poem:
        async for token in poem:
            assert_type(token, Token)


def errors(error: StreamError) -> None:
    """The fields of the one error that a failed model call raises."""
    assert_type(error.node, str | None)
    assert_type(error.chunks, int)
