"""A node's ``writer`` works wherever the node calls it, in every mode and on every Python."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langgraph.config import get_config, get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy, StreamWriter, TimeoutPolicy

from tokenweir.nodes.node import node
from tokenweir.streaming._langgraph.config_propagation import CONFIG_TRAVELS
from tokenweir.streaming.stream import astream, stream

INPUT: Any = {"messages": []}

MODES: list[dict[str, Any]] = [
    {"stream_mode": "custom"},
    {"stream_mode": "custom", "subgraphs": True},
    {"stream_mode": "custom", "version": "v2", "subgraphs": True},
    {"stream_mode": ["custom"]},
    {"stream_mode": ["custom", "updates"], "subgraphs": True},
]


async def plain(state: MessagesState, writer: StreamWriter) -> Any:
    writer("plain")
    return {}


async def by_runtime(state: MessagesState, runtime: Runtime[Any]) -> Any:
    runtime.stream_writer("by runtime")
    return {}


async def in_a_task(state: MessagesState, writer: StreamWriter) -> Any:
    async def write() -> None:
        writer("in a task")

    await asyncio.gather(write())
    return {}


def outer(wrap: Any) -> Any:
    """A graph whose last node is a graph."""
    inner: Any = StateGraph(MessagesState)
    inner.add_node("inner", wrap(plain)).add_edge(START, "inner")
    builder: Any = StateGraph(MessagesState)
    builder.add_node("plain", wrap(plain)).add_edge(START, "plain")
    builder.add_node("by_runtime", wrap(by_runtime)).add_edge("plain", "by_runtime")
    builder.add_node("in_a_task", wrap(in_a_task)).add_edge("by_runtime", "in_a_task")
    builder.add_node("sub", inner.compile()).add_edge("in_a_task", "sub")
    return builder.compile()


def without_ids(part: Any) -> Any:
    """The part, with namespaces that are the same in every run."""
    if isinstance(part, dict):
        return {key: without_ids(value) for key, value in part.items()}
    if isinstance(part, tuple):
        return tuple(without_ids(value) for value in part)
    return part.split(":")[0] if isinstance(part, str) else part


@pytest.mark.parametrize("options", MODES, ids=str)
async def test_bare_async_nodes_write_as_in_langgraph(options: dict[str, Any]) -> None:
    """Nodes as LangGraph's documentation has them give what ``@node`` gives in plain LangGraph."""
    expected = [part async for part in outer(node).astream(INPUT, **options)]
    got = [part async for part in astream(outer(lambda bare: bare), INPUT, **options)]
    assert "plain" in str(expected)
    assert [without_ids(part) for part in got] == [without_ids(part) for part in expected]


@pytest.mark.parametrize("options", MODES, ids=str)
def test_a_thread_of_the_node_writes(options: dict[str, Any]) -> None:
    """A thread that a node starts may write, in the sync stream too."""

    def ask(state: MessagesState, writer: StreamWriter) -> Any:
        thread = threading.Thread(target=writer, args=("from a thread",))
        thread.start()
        thread.join()
        return {}

    graph: Any = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
    parts = list(stream(graph, INPUT, **options))
    assert "from a thread" in str(parts[0])


async def test_a_timed_node_writes() -> None:
    """A node with an idle timeout, whose writer LangGraph wraps, writes as well."""
    builder: Any = StateGraph(MessagesState)
    builder.add_node("ask", plain, timeout=TimeoutPolicy(idle_timeout=60))
    graph = builder.add_edge(START, "ask").compile()
    assert [part async for part in astream(graph, INPUT, stream_mode="custom")] == ["plain"]


async def test_a_graph_streamed_in_a_node_keeps_the_runtime_of_the_run() -> None:
    """Context that was given to the outer run reaches the nodes of a graph that a node streams."""

    async def ask(state: MessagesState, runtime: Runtime[Any], writer: StreamWriter) -> Any:
        writer(runtime.context)
        return {}

    builder: Any = StateGraph(MessagesState, context_schema=dict)
    inner = builder.add_node("ask", ask).add_edge(START, "ask").compile()

    @node
    async def call(state: MessagesState, writer: StreamWriter) -> Any:
        async for part in astream(inner, INPUT, stream_mode="custom"):
            writer(part)
        return {}

    builder = StateGraph(MessagesState, context_schema=dict)
    graph = builder.add_node("call", call).add_edge(START, "call").compile()
    parts = astream(graph, INPUT, stream_mode="custom", context={"user": "me"})
    assert [part async for part in parts] == [{"user": "me"}]


async def test_what_still_needs_node_says_so() -> None:
    """What a bare async node cannot look up before Python 3.11 names ``@node`` at the reader."""

    async def ask(state: MessagesState) -> Any:
        get_config()
        return {}

    builder: Any = StateGraph(MessagesState)
    graph = builder.add_node("ask", ask).add_edge(START, "ask").compile()
    if CONFIG_TRAVELS:
        assert [part async for part in astream(graph, INPUT)] == []
        return
    with pytest.raises(RuntimeError, match=r"outside of a runnable context.*@tokenweir\.node"):
        [part async for part in astream(graph, INPUT)]


@pytest.mark.skipif(not CONFIG_TRAVELS, reason="LangGraph's tasks in an event loop need 3.11")
@pytest.mark.parametrize("options", MODES, ids=str)
async def test_a_task_writes_as_in_langgraph(options: dict[str, Any]) -> None:
    """A ``@task`` has a namespace of its own, yet belongs to the graph that calls it; the nodes
    of a graph that it calls do not."""

    def below(state: MessagesState) -> Any:
        get_stream_writer()("below")
        return {}

    inner = StateGraph(MessagesState).add_node(below).add_edge(START, "below").compile()
    fails = [True]

    def written(text: str) -> str:
        get_stream_writer()(text)
        if fails:
            fails.pop()
            raise ConnectionError(text)
        inner.invoke(INPUT)
        return text

    tasks: Any = task
    policy = RetryPolicy(initial_interval=0, jitter=False, retry_on=ConnectionError)
    write = tasks(retry_policy=policy)(written)

    @task
    def write_by_task(text: str) -> str:
        get_stream_writer()(f"by task: {text}")
        return str(write(text).result())

    @entrypoint()
    def work(text: str) -> str:
        get_stream_writer()("begins")
        return f"{write(text).result()} {write_by_task(text).result()}"

    expected = [part async for part in work.astream("a task", **options)]
    fails.append(True)
    got = [part async for part in astream(work, "a task", **options)]
    assert "by task" in str(expected)
    assert [without_ids(part) for part in got] == [without_ids(part) for part in expected]


@pytest.mark.parametrize("options", MODES, ids=str)
async def test_below_a_timed_node_writes_as_in_langgraph(options: dict[str, Any]) -> None:
    """The nodes of a graph that a node calls keep their own namespace, although LangGraph wraps
    the writer of a node with an idle timeout."""

    def timed(wrap: Any) -> Any:
        builder: Any = StateGraph(MessagesState)
        builder.add_node("sub", outer(wrap), timeout=TimeoutPolicy(idle_timeout=60))
        return builder.add_edge(START, "sub").compile()

    expected = [part async for part in timed(node).astream(INPUT, **options)]
    got = [part async for part in astream(timed(node), INPUT, **options)]
    assert [without_ids(part) for part in got] == [without_ids(part) for part in expected]
