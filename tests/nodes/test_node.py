"""``@node``: every form of node that LangGraph takes, with its config reaching the model calls.

``carrying`` is what ``@node`` makes before Python 3.11; it must do no harm after it either, so all
of this runs with both on every Python.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypedDict, TypeVar, get_type_hints

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config, get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.types import Command, Send, StreamWriter, interrupt

import tokenweir
from tokenweir.models.chat import ChatModel
from tokenweir.nodes.node import carrying, node
from tokenweir.streaming._langgraph.config_propagation import CONFIG_TRAVELS
from tokenweir.streaming.stream import astream, stream

INPUT: Any = {"messages": [("user", "hello")]}
SAID = "You said: hello"

NOBODY: Any = None
"""In the place of a model that is not called."""

F = TypeVar("F", bound=Callable[..., Any])


class Wrap(Protocol):
    """``node``, or ``carrying``."""

    def __call__(self, function: F, /) -> F: ...


wrappers = pytest.mark.parametrize("wrap", [node, carrying])


class Narrow(TypedDict):
    """Less than the whole state."""

    messages: list[Any]


def state_only(model: ChatModel) -> Any:
    async def ask(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return ask


def with_config(model: ChatModel) -> Any:
    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        assert config["metadata"]["langgraph_node"] == "ask"
        return {"messages": [await model.ainvoke(state["messages"])]}

    return ask


def config_passed_on(model: ChatModel) -> Any:
    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    return ask


def config_by_keyword(model: ChatModel) -> Any:
    async def ask(state: MessagesState, *, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    return ask


def with_writer(model: ChatModel) -> Any:
    async def ask(state: MessagesState, writer: StreamWriter) -> Any:
        writer("custom")
        return {"messages": [await model.ainvoke(state["messages"])]}

    return ask


def with_runtime(model: ChatModel) -> Any:
    async def ask(state: MessagesState, runtime: Runtime[Any]) -> Any:
        assert runtime.store is not None
        runtime.stream_writer("custom")
        return {"messages": [await model.ainvoke(state["messages"])]}

    return ask


def with_store(model: ChatModel) -> Any:
    async def ask(state: MessagesState, *, store: BaseStore) -> Any:
        await store.aput(("seen",), "prompt", {"text": state["messages"][-1].content})
        return {"messages": [await model.ainvoke(state["messages"])]}

    return ask


def with_all(model: ChatModel) -> Any:
    async def ask(
        state: MessagesState,
        config: RunnableConfig,
        writer: StreamWriter,
        runtime: Runtime[Any],
        store: BaseStore,
    ) -> Any:
        assert config["metadata"]["langgraph_node"] == "ask"
        assert runtime.store is store
        writer("custom")
        return {"messages": [await model.ainvoke(state["messages"])]}

    return ask


def with_defaults(model: ChatModel) -> Any:
    async def ask(state: MessagesState, times: int = 1, **options: Any) -> Any:
        assert times == 1
        assert options == {}
        return {"messages": [await model.ainvoke(state["messages"])]}

    return ask


def streaming_inside(model: ChatModel) -> Any:
    async def ask(state: MessagesState) -> Any:
        words = [str(chunk.content) async for chunk in model.astream(state["messages"])]
        return {"messages": [("ai", "".join(words))]}

    return ask


def in_a_task(model: ChatModel) -> Any:
    async def ask(state: MessagesState) -> Any:
        (answer,) = await asyncio.gather(model.ainvoke(state["messages"]))
        return {"messages": [answer]}

    return ask


def sync(model: ChatModel) -> Any:
    def ask(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    return ask


def sync_with_all(model: ChatModel) -> Any:
    def ask(
        state: MessagesState,
        config: RunnableConfig,
        writer: StreamWriter,
        runtime: Runtime[Any],
        store: BaseStore,
    ) -> Any:
        assert config["metadata"]["langgraph_node"] == "ask"
        assert runtime.store is store
        writer("custom")
        return {"messages": [model.invoke(state["messages"])]}

    return ask


class Asks:
    """A node that is an object, with a model of its own."""

    def __init__(self, model: ChatModel) -> None:
        self.model = model

    async def __call__(self, state: MessagesState, writer: StreamWriter) -> Any:
        writer("custom")
        return {"messages": [await self.model.ainvoke(state["messages"])]}

    async def ask(self, state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await self.model.ainvoke(state["messages"], config)]}

    def ask_sync(self, state: MessagesState) -> Any:
        return {"messages": [self.model.invoke(state["messages"])]}


class AsksSync(Asks):
    def __call__(self, state: MessagesState, *, config: RunnableConfig) -> Any:  # type: ignore[override]
        return {"messages": [self.model.invoke(state["messages"], config)]}


async def ask_of(model: ChatModel, state: MessagesState, writer: StreamWriter) -> Any:
    writer("custom")
    return {"messages": [await model.ainvoke(state["messages"])]}


def ask_of_sync(state: MessagesState, *, model: ChatModel) -> Any:
    return {"messages": [model.invoke(state["messages"])]}


SYNC: dict[str, Callable[[ChatModel], Any]] = {
    "sync": sync,
    "sync_with_all": sync_with_all,
    "sync_method": lambda model: Asks(model).ask_sync,
    "sync_object": AsksSync,
    "sync_partial": lambda model: functools.partial(ask_of_sync, model=model),
}
ASYNC: dict[str, Callable[[ChatModel], Any]] = {
    **{
        make.__name__: make
        for make in (
            state_only,
            with_config,
            config_passed_on,
            config_by_keyword,
            with_writer,
            with_runtime,
            with_store,
            with_all,
            with_defaults,
            streaming_inside,
            in_a_task,
        )
    },
    "method": lambda model: Asks(model).ask,
    "object": Asks,
    "partial": lambda model: functools.partial(ask_of, model),
}
EVERY = {**ASYNC, **SYNC}


@wrappers
@pytest.mark.parametrize("form", EVERY)
@pytest.mark.asyncio(loop_scope="module")  # connections are opened once
async def test_every_form_of_node_streams_its_model_calls(
    model: ChatModel, one_node: Any, streamed: Any, form: str, wrap: Wrap
) -> None:
    """Whatever a node takes and is, the tokens of the model it calls are streamed."""
    graph = one_node(wrap(EVERY[form](model)))
    ours = [token async for token in astream(graph, INPUT)]
    theirs = [token async for token in graph.astream(INPUT, stream_mode="messages")]
    assert streamed(ours) == streamed(theirs) == SAID
    assert {metadata["langgraph_node"] for _, metadata in ours} == {"ask"}


@wrappers
@pytest.mark.parametrize("form", SYNC)
def test_sync_nodes_stream_in_sync_streams(
    model: ChatModel, one_node: Any, streamed: Any, form: str, wrap: Wrap
) -> None:
    """The same holds for ``stream`` and ``graph.stream``."""
    graph = one_node(wrap(SYNC[form](model)))
    assert streamed(list(stream(graph, INPUT))) == SAID
    assert streamed(list(graph.stream(INPUT, stream_mode="messages"))) == SAID


@wrappers
async def test_writer_and_store_are_handed_over(
    model: ChatModel, one_node: Any, wrap: Wrap
) -> None:
    """What LangGraph injects reaches the node: the writer writes, the store keeps."""
    for make in (with_writer, with_runtime, with_all, Asks):
        graph = one_node(wrap(make(model)))
        parts = [part async for part in graph.astream(INPUT, stream_mode="custom")]
        assert parts == ["custom"]
    graph = one_node(wrap(with_store(model)))
    await graph.ainvoke(INPUT)
    assert (await graph.store.aget(("seen",), "prompt")).value == {"text": "hello"}


@wrappers
async def test_parallel_nodes_keep_their_own_config(model: ChatModel, wrap: Wrap) -> None:
    """Nodes that run at once, also those fanned out by ``Send``, each stream as themselves."""

    def asking(prompt: str) -> Any:
        @wrap
        async def ask(state: MessagesState) -> Any:
            await model.ainvoke(prompt)
            return {}

        return ask

    builder = StateGraph(MessagesState)
    builder.add_node("a", asking("one")).add_node("b", asking("two")).add_node("c", asking("three"))
    builder.add_edge(START, "a").add_edge(START, "b")
    builder.add_conditional_edges(START, lambda state: [Send("c", state)] * 2, ["c"])
    said: dict[tuple[str, str], str] = {}
    async for chunk, metadata in astream(builder.compile(), INPUT):
        call = (metadata["langgraph_node"], str(chunk.id))
        said[call] = said.get(call, "") + str(chunk.content)
    assert sorted((node, text) for (node, _), text in said.items()) == [
        ("a", "You said: one"),
        ("b", "You said: two"),
        ("c", "You said: three"),
        ("c", "You said: three"),
    ]


@wrappers
async def test_a_subgraph_called_in_a_node_streams(
    model: ChatModel, one_node: Any, streamed: Any, wrap: Wrap
) -> None:
    """A graph that a node calls without a config is still part of the run."""
    inner = one_node(wrap(state_only(model)), "inner")

    @wrap
    async def outer(state: MessagesState) -> Any:
        return await inner.ainvoke(state)

    parts = [part async for part in astream(one_node(outer, "outer"), INPUT, subgraphs=True)]
    assert streamed([token for _, token in parts]) == SAID
    assert {metadata["langgraph_node"] for _, (_, metadata) in parts} == {"inner"}


@wrappers
async def test_what_a_node_raises_is_raised(one_node: Any, wrap: Wrap) -> None:
    """Exceptions pass through, and leave no config behind."""

    @wrap
    async def fails(state: MessagesState) -> Any:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        await one_node(fails).ainvoke(INPUT)
    assert var_child_runnable_config.get() is None


@wrappers
async def test_langgraph_finds_its_context(wrap: Wrap) -> None:
    """``interrupt()``, ``get_config()`` and the writer work in an async node, on 3.10 too."""

    @wrap
    async def ask(state: MessagesState) -> Any:
        assert get_config()["metadata"]["langgraph_node"] == "ask"
        get_stream_writer()("written")
        return {"messages": [("ai", interrupt("what?"))]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask")
    graph = builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    assert [part async for part in graph.astream(INPUT, config, stream_mode="custom")] == [
        "written"
    ]
    answer = await graph.ainvoke(Command(resume="this"), config)
    assert answer["messages"][-1].content == "this"


@wrappers
async def test_a_command_finds_its_way(wrap: Wrap) -> None:
    """The edges that a return annotation names are seen, for functions and for objects."""

    @wrap
    async def function(state: MessagesState) -> Command[Literal["end"]]:
        return Command(goto="end")

    class Object:
        async def __call__(self, state: MessagesState) -> Command[Literal["end"]]:
            return Command(goto="end")

    async def end(state: MessagesState) -> Any:
        return {"messages": [("ai", "the end")]}

    for start in (function, wrap(Object())):
        builder = StateGraph(MessagesState).add_node("start", start).add_node("end", end)
        graph = builder.add_edge(START, "start").compile()
        assert ("start", "end") in {(edge.source, edge.target) for edge in graph.get_graph().edges}
        assert (await graph.ainvoke(INPUT))["messages"][-1].content == "the end"


@wrappers
def test_a_narrow_input_stays_narrow(wrap: Wrap) -> None:
    """The input that a node's annotation asks for is what LangGraph finds."""

    async def function(state: Narrow) -> Any: ...

    class Object:
        async def __call__(self, state: Narrow) -> Any: ...

    for action in (function, Object(), Object().__call__):
        builder = StateGraph(MessagesState).add_node("ask", wrap(action))
        assert builder.nodes["ask"].input_schema is Narrow


@pytest.mark.parametrize("form", EVERY)
def test_names_and_kinds_stay(form: str) -> None:
    """A decorated node keeps its name, its documentation and what it is: async or not."""
    action = EVERY[form](NOBODY)
    made = carrying(action)
    plain = action.func if isinstance(action, functools.partial) else action
    name = getattr(plain, "__name__", type(plain).__name__)
    assert StateGraph(MessagesState).add_node(made).nodes.keys() == {name}
    assert made.__doc__ == action.__doc__
    assert inspect.iscoroutinefunction(made) is (form in ASYNC)


@pytest.mark.parametrize("form", EVERY)
def test_type_hints_stay(form: str) -> None:
    """Type hints are what they were, plus the config that LangGraph is to hand over."""
    action = EVERY[form](NOBODY)
    hints: dict[str, Any] = {}  # of a partial LangGraph reads none
    if not isinstance(action, functools.partial):
        hints = get_type_hints(action if inspect.isroutine(action) else type(action).__call__)
    assert get_type_hints(carrying(action)) == {**hints, "config": RunnableConfig}


@wrappers
async def test_a_node_called_by_hand_is_the_function_itself(wrap: Wrap) -> None:
    """Outside a graph, in a user's own test, arguments go where the function takes them."""

    @wrap
    async def one(state: Any) -> Any:
        return state

    @wrap
    async def two(state: Any, config: RunnableConfig) -> Any:
        return state, config

    @wrap
    async def three(state: Any, config: RunnableConfig | None = None, *, writer: Any = None) -> Any:
        return state, config, writer

    @wrap
    def four(state: Any, config: RunnableConfig) -> Any:
        return state, config

    given: RunnableConfig = {"tags": ["mine"]}
    assert await one("state") == await one(state="state") == "state"
    assert await two("state", given) == await two("state", config=given) == ("state", given)
    assert await three("state") == ("state", None, None)
    assert await three("state", given, writer="w") == ("state", given, "w")
    assert four("state", given) == four(state="state", config=given) == ("state", given)
    with pytest.raises(TypeError, match="config"):
        await two("state")  # type: ignore[call-arg]
    assert var_child_runnable_config.get() is None


async def test_carrying_sets_the_config_for_the_time_of_the_call() -> None:
    """The context variable holds the node's config during the call, in its tasks, and not after."""

    async def look() -> Any:
        return var_child_runnable_config.get()

    @carrying
    async def looks(state: Any) -> Any:
        return await look(), await asyncio.create_task(look())

    @carrying
    def looks_sync(state: Any) -> Any:
        return var_child_runnable_config.get()

    @carrying
    async def takes(state: Any, config: Any = None) -> Any:
        return await look()

    given: Any = {"tags": ["mine"]}
    assert await takes("state", given) == await takes("state", config=given) == given
    assert await takes("state") is None
    call: Any = looks
    assert await call("state", config=given) == (given, given)
    call_sync: Any = looks_sync
    assert call_sync("state", config=given) is given
    assert var_child_runnable_config.get() is None


async def test_decorating_twice_does_no_harm(
    model: ChatModel, one_node: Any, streamed: Any
) -> None:
    """A node that is decorated twice streams each token once."""
    graph = one_node(carrying(carrying(state_only(model))))
    assert streamed([token async for token in astream(graph, INPUT)]) == SAID


def test_from_python_3_11_on_it_is_the_function_itself() -> None:
    """Where config travels by itself nothing is wrapped; ``tokenweir.node`` is this one."""
    action = state_only(NOBODY)
    assert (node(action) is action) == CONFIG_TRAVELS
    assert tokenweir.node is node


@pytest.mark.parametrize("what", [None, "ask", 3])
def test_what_is_no_node_is_refused(what: Any) -> None:
    """A mistake such as ``@node()`` or ``node("name")`` is said at once."""
    with pytest.raises(TypeError, match="@node takes a node's function, not"):
        node(what)


async def test_config_passed_by_hand_needs_no_decorator(
    model: ChatModel, one_node: Any, streamed: Any
) -> None:
    """What LangGraph's docs teach for Python 3.10 works as it is, without ``@node``."""
    for make in (config_passed_on, config_by_keyword, lambda model: Asks(model).ask):
        graph = one_node(make(model))
        assert streamed([token async for token in astream(graph, INPUT)]) == SAID
