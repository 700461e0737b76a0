"""Promise 1 for lists of modes: every part, and their exact order, where LangGraph fixes it."""

from __future__ import annotations

import asyncio
import contextlib
import operator
import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypedDict
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, StreamWriter, interrupt

from tokenweir.nodes.node import node
from tokenweir.streaming.stream import astream

MODES = ["values", "updates", "custom", "debug", "tasks", "checkpoints", "tools"]
ENDS = ["end", "error", "error in a thread", "recursion", "before", "after", "interrupt"]

_CHANGING = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.+]+|\b[0-9a-f]{32}\b"
)


class State(TypedDict, total=False):
    """What the nodes have noted."""

    note: Annotated[list[str], operator.add]


def written(text: str) -> Any:
    """A node in a thread that writes two parts of its own."""

    @node
    def write(state: State, writer: StreamWriter) -> State:
        writer({"says": text})
        writer({"says": text, "again": True})
        return {"note": [text]}

    return write


@tool
def double(text: str) -> str:
    """A tool that fails if it is given nothing."""
    if not text:
        raise ValueError("nothing")
    return text * 2


def sequence(*nodes: tuple[str, Any], saver: Any = None) -> Any:
    builder: Any = StateGraph(State).add_sequence(list(nodes)).add_edge(START, nodes[0][0])
    return builder.compile(checkpointer=saver)


def graph_of(kinds: list[str], end: str) -> Any:
    """Nodes of these kinds, one after the other, and what ends them."""
    model = FakeListChatModel(responses=["hello"])

    @node
    async def in_loop(state: State, config: RunnableConfig, writer: StreamWriter) -> State:
        writer("before the call")
        answer = await model.ainvoke("say", config)
        writer("behind the call")
        return {"note": [str(answer.content)]}

    @node
    async def own_thread(state: State, config: RunnableConfig) -> State:
        below = sequence(("deep", in_loop), ("deeper", tools))
        own: Any = {"callbacks": config["callbacks"], "configurable": {"thread_id": "own"}}
        return {"note": (await below.ainvoke({"note": []}, own))["note"]}

    async def silent(state: State) -> None:
        return None

    @node
    async def inside(state: State, config: RunnableConfig) -> State:
        below = sequence(("one", in_loop), ("two", written("below")))
        return {"note": (await below.ainvoke({"note": []}, config))["note"]}

    @node
    async def last(state: State, config: RunnableConfig, writer: StreamWriter) -> Any:
        writer("last")
        if end == "error":
            raise ValueError("broken")
        if end == "interrupt":
            return {"note": [interrupt("what?")]}
        return Command(update={"note": ["last"]})

    @node
    def last_in_thread(state: State, writer: StreamWriter) -> State:
        writer("last")
        raise ValueError("broken")

    @node
    async def tools(state: State, config: RunnableConfig) -> State:
        given: Any = {"type": "tool_call", "name": "double", "args": {"text": "ab"}, "id": "c1"}
        answer = await double.ainvoke(given, config)
        with contextlib.suppress(ValueError):
            await double.ainvoke({"text": ""}, config)
        return {"note": [str(answer.content)]}

    nodes: dict[str, Callable[[], Any]] = {
        "loop": lambda: in_loop,
        "thread": lambda: written("thread"),
        "silent": lambda: silent,
        "inside": lambda: inside,
        "tool": lambda: tools,
        "own thread": lambda: own_thread,
        "graph": lambda: sequence(("deep", in_loop), ("deeper", written("deeper"))),
    }
    named: list[Any] = [(f"{kind}{at}", nodes[kind]()) for at, kind in enumerate(kinds)]
    named.append(("last", last_in_thread if end == "error in a thread" else last))
    return sequence(*named, saver=InMemorySaver())


async def told(parts: AsyncIterator[Any]) -> list[Any]:
    """The parts as text in which ids and times are the same in every run, and the error."""
    found: list[Any] = []
    try:
        async for part in parts:
            found.append(repr(part))
    except (ValueError, RecursionError) as error:
        found.append(repr(error))
    seen: dict[str, str] = {}

    def replaced(match: re.Match[str]) -> str:
        return "time" if "T" in match[0] else seen.setdefault(match[0], f"id{len(seen)}")

    return [_CHANGING.sub(replaced, part) for part in found]


async def both(call: Any, given_to_run: Any, kinds: list[str], end: str, **more: Any) -> Any:
    config: Any = {"configurable": {"thread_id": str(uuid4())}, "metadata": {"who": "me"}}
    if end == "recursion":
        config["recursion_limit"] = len(kinds)
    if end in ("before", "after"):
        more[f"interrupt_{end}"] = ["last"]
    graph = graph_of(kinds, end)
    first = await told(call(graph, given_to_run, config, **more))
    if end != "interrupt":
        return first
    return first, await told(call(graph, Command(resume="so"), config, **more))


async def test_nodes_that_an_error_stops_tell_nothing() -> None:
    """A node that fails stops those beside it, of whose end LangGraph tells nothing."""
    begun = asyncio.Event()

    async def waits(state: State) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def fails(state: State) -> None:
        await begun.wait()
        raise ValueError("broken")

    builder: Any = StateGraph(State).add_node(waits).add_node(fails)
    graph = builder.add_edge(START, "waits").add_edge(START, "fails").compile()
    more: Any = {"stream_mode": ["debug", "tasks", "updates"]}
    ours = await told(astream(graph, {"note": []}, **more))
    assert ours == await told(graph.astream({"note": []}, **more))


def langgraphs(graph: Any, *args: Any, **kwargs: Any) -> Any:
    return graph.astream(*args, **kwargs)


@given(
    modes=st.lists(st.sampled_from(MODES), min_size=1, unique=True),
    kinds=st.lists(
        st.sampled_from(["loop", "thread", "silent", "inside", "graph", "tool", "own thread"]),
        max_size=4,
    ),
    end=st.sampled_from(ENDS),
    subgraphs=st.booleans(),
    durability=st.sampled_from(["sync", "async", "exit"]),
)
@settings(max_examples=100)
def test_lists_of_modes_stream_the_same(
    modes: list[str], kinds: list[str], end: str, subgraphs: bool, durability: Any
) -> None:
    """Without tokens among them: same parts in the same order, to the same end."""
    more: Any = {"stream_mode": modes, "subgraphs": subgraphs, "durability": durability}
    given_to_run: Any = {"note": ["given"]}

    async def compare() -> None:
        ours = await both(astream, given_to_run, kinds, end, **more)
        assert ours == await both(langgraphs, given_to_run, kinds, end, **more)

    asyncio.run(compare())
