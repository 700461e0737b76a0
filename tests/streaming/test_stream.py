"""``astream`` and ``stream``: filtering, errors, and the life of a stream, on LangChain models."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import pickle
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import StreamWriter

from tokenweir.errors import FilterError, StreamError
from tokenweir.streaming.filters import Filter, from_node, in_namespace, tag
from tokenweir.streaming.stream import astream, stream
from tokenweir.testing.matchers import without_run_ids

INPUT: Any = {"messages": [("user", "hello")], "note": []}


def config() -> Any:
    return {"configurable": {"thread_id": str(uuid4())}}


FILTERS = [
    tag("m1"),
    ~tag("m1"),
    tag("kept"),
    from_node("ainvoke_0_0_0"),
    tag("m2") | ~from_node("message_0_0_1"),
    in_namespace("subgraph_0_1_0"),
    Filter(lambda metadata: metadata["langgraph_step"] > 1),
    Filter(lambda metadata: False),
]


@pytest.mark.filterwarnings("ignore::tokenweir.errors.UnmatchedFilterWarning")
@given(
    layers=st.lists(
        st.lists(
            st.sampled_from(["ainvoke", "message", "history", "send", "subgraph", "command"]),
            min_size=1,
            max_size=2,
        ),
        min_size=1,
        max_size=3,
    ),
    only=st.sampled_from(FILTERS),
    subgraphs=st.booleans(),
)
@settings(max_examples=40)
def test_a_filter_at_the_source_equals_one_afterwards(
    maker: Any, layers: list[list[str]], only: Filter, subgraphs: bool
) -> None:
    """Promise 2: ``only=`` gives what LangGraph's own stream gives when filtered by metadata."""

    async def compare() -> None:
        whole = (
            maker()
            .graph(layers)
            .astream(INPUT, config(), stream_mode="messages", subgraphs=subgraphs)
        )
        after = [part async for part in whole if only((part[1] if subgraphs else part)[1])]
        graph = maker().graph(layers)
        source = [
            part async for part in astream(graph, INPUT, config(), only=only, subgraphs=subgraphs)
        ]
        assert without_run_ids(source) == without_run_ids(after)

    asyncio.run(compare())


async def test_a_filter_is_asked_once_per_call(graphs: Any) -> None:
    """The decision is made per model call, not per token."""
    asked: Counter[str] = Counter()

    def only(metadata: Any) -> bool:
        asked[str(metadata["langgraph_checkpoint_ns"])] += 1
        return True

    graph = graphs.graph([["ainvoke"]])
    tokens = [token async for token in astream(graph, INPUT, config(), only=only)]
    assert list(asked.values()) == [1]
    assert len(tokens) == 5


async def test_a_filter_leaves_other_modes_alone(graphs: Any) -> None:
    """With several modes, ``only=`` holds for tokens, and updates pass."""
    graph = graphs.graph([["ainvoke"], ["ainvoke"]])
    parts = [
        part
        async for part in astream(
            graph, INPUT, config(), only="tag:m2", stream_mode=["messages", "updates"]
        )
    ]
    assert Counter(mode for mode, _ in parts) == {"messages": 5, "updates": 2}
    assert {tuple(part[1]["tags"]) for mode, part in parts if mode == "messages"} == {("m2",)}


def test_custom_writes_are_filtered_if_they_are_tokens() -> None:
    """``(chunk, metadata)`` writes are filtered by their metadata, everything else is untouched."""

    def write(state: MessagesState, writer: StreamWriter) -> Any:
        for name in ("joke", "poem"):
            writer(({"role": "assistant", "content": name}, {"tags": [name]}))
        writer({"progress": 50})
        writer(("pair", {"of": "things"}))
        writer("text")
        return {}

    graph = StateGraph(MessagesState).add_node(write).add_edge(START, "write").compile()
    # Not async: before Python 3.11 LangGraph's writer finds no config there.
    everything = list(graph.stream(INPUT, stream_mode="custom"))
    kept = list(stream(graph, INPUT, stream_mode="custom", only="tag:joke"))
    assert len(everything) == 5
    assert kept == [everything[0], *everything[2:]]


@pytest.mark.parametrize("only", ["tag", "colour:red", 7])
def test_a_bad_filter_is_refused_before_the_run(only: Any, graphs: Any) -> None:
    """What is no filter is refused by the call itself, with the forms that are understood."""
    graph = graphs.graph([["silent"]])
    with pytest.raises(FilterError, match="tag:joke"):
        astream(graph, INPUT, only=only)


# Errors


@pytest.mark.parametrize("mode", ["messages", ["messages", "updates"]], ids=str)
async def test_a_failed_call_is_told_at_the_reader(graphs: Any, mode: Any) -> None:
    """Promise 7: a model that breaks raises StreamError after the tokens before it."""
    model = graphs.model(breaks_once_after=2, tags=["joke"])

    async def tell(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke("say", config)]}

    graph = StateGraph(MessagesState).add_node(tell).add_edge(START, "tell").compile()
    tokens = []
    with pytest.raises(StreamError) as raised:
        async for part in astream(graph, INPUT, stream_mode=mode):
            tokens.append(part)
    assert len(tokens) == 2
    error = raised.value
    assert (error.node, error.tags, error.chunks, error.characters) == ("tell", ("joke",), 2, 7)
    assert isinstance(error.__cause__, ConnectionError)
    assert str(error) == (
        "steadymodel in node 'tell' (tags: joke) failed after 2 chunks, 7 characters: "
        "ConnectionError: cut"
    )


async def test_text_in_blocks_is_counted_in_errors() -> None:
    """Models that answer in blocks, as Anthropic's do, have their characters in the error."""

    class Blocks(GenericFakeChatModel):
        async def _astream(self, *args: Any, **kwargs: Any) -> Any:
            for text in ("one", " two"):
                thought = {"type": "thinking", "thinking": "hm", "index": 0}
                block = {"type": "text", "text": text, "index": 1}
                yield ChatGenerationChunk(message=AIMessageChunk(content=[thought, block]))
            raise ConnectionError("cut")

    async def tell(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await Blocks(messages=iter(())).ainvoke("say", config)]}

    graph = StateGraph(MessagesState).add_node(tell).add_edge(START, "tell").compile()
    with pytest.raises(StreamError, match="after 2 chunks, 7 characters"):
        [token async for token in astream(graph, INPUT)]


def test_a_failed_call_is_told_to_the_sync_reader(graphs: Any) -> None:
    """``stream`` raises the same StreamError."""
    model = graphs.model(breaks_once_after=2)
    graph = (
        StateGraph(MessagesState)
        .add_node("tell", lambda state: {"messages": [model.invoke("say")]})
        .add_edge(START, "tell")
        .compile()
    )
    tokens: list[Any] = []
    with pytest.raises(StreamError, match=r"in node 'tell'.* after 2 chunks"):
        tokens.extend(stream(graph, INPUT))
    for number, token in enumerate(stream(graph, INPUT)):  # it breaks only once
        assert token[1]["langgraph_node"] == "tell"
        assert number < 5


@pytest.mark.parametrize("call", [astream, stream])
async def test_what_a_node_raises_is_not_wrapped(call: Any) -> None:
    """A user's own exception reaches the reader as the object that was raised."""
    mine = KeyError("mine")

    def fail(state: MessagesState) -> Any:
        raise mine

    graph = StateGraph(MessagesState).add_node(fail).add_edge(START, "fail").compile()
    with pytest.raises(KeyError) as raised:
        if call is stream:
            list(stream(graph, INPUT))
        else:
            [token async for token in astream(graph, INPUT)]
    assert raised.value is mine


async def test_a_node_may_catch_the_models_own_error(graphs: Any) -> None:
    """Inside the graph, errors keep their types: a node that falls back goes on.

    The first answer's token is retracted before the second answer comes.
    """
    model = graphs.model(breaks_once_after=1)

    async def careful(state: MessagesState) -> Any:
        try:
            answer = await model.ainvoke("say")
        except ConnectionError:
            answer = await model.ainvoke("again")
        return {"messages": [answer]}

    if sys.version_info < (3, 11):
        pytest.skip("this node leaves config to Python 3.11")
    graph = StateGraph(MessagesState).add_node(careful).add_edge(START, "careful").compile()
    kinds = [type(chunk).__name__ async for chunk, _ in astream(graph, INPUT)]
    assert kinds == ["AIMessageChunk", "RemoveMessage", *["AIMessageChunk"] * 5]


async def test_a_step_limit_is_langgraphs_own_error(graphs: Any) -> None:
    """LangGraph's errors keep their types and their texts."""
    builder = StateGraph(MessagesState).add_node("again", lambda state: {"messages": []})
    graph = builder.add_edge(START, "again").add_edge("again", "again").compile()
    with pytest.raises(GraphRecursionError, match="Recursion limit of 3"):
        [token async for token in astream(graph, INPUT, {"recursion_limit": 3})]


def test_a_stream_error_survives_pickling() -> None:
    """It can be sent to another process whole."""
    error = StreamError("cut", provider="openai", model="gpt", node="n", tags=("a",), chunks=3)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


# The life of a stream


async def test_nothing_runs_before_the_first_read(graphs: Any) -> None:
    """A stream that is never read starts nothing and leaves nothing."""
    before = asyncio.all_tasks()
    tokens = astream(graphs.graph([["ainvoke"]]), INPUT, config())
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    await tokens.aclose()
    assert [token async for token in tokens] == []


async def test_breaking_out_stops_the_run(graphs: Any) -> None:
    """After ``break`` no task of the run is left, whether it is let go of or closed."""
    graph = graphs.graph([["ainvoke"], ["ainvoke", "message"], ["subgraph"]])
    before = asyncio.all_tasks()
    async for _ in astream(graph, INPUT, config(), buffer=0):
        break
    gc.collect()
    while asyncio.all_tasks() != before:
        await asyncio.sleep(0)
    async with astream(graph, INPUT, config(), buffer=0) as tokens:
        await tokens.__anext__()
    assert asyncio.all_tasks() == before
    with pytest.raises(StopAsyncIteration):
        await tokens.__anext__()


async def test_cancelling_the_reader_stops_the_run(graphs: Any) -> None:
    """Cancelled while it waits for a token, a reader takes its run along."""
    started = asyncio.Event()
    ended = asyncio.Event()

    async def wait(state: MessagesState) -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    graph = StateGraph(MessagesState).add_node(wait).add_edge(START, "wait").compile()

    async def read() -> None:
        async for _ in astream(graph, INPUT):
            pass

    reader = asyncio.create_task(read())
    await started.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert ended.is_set()


async def test_two_readers_are_refused(graphs: Any) -> None:
    """A stream has one reader; the error names what to use instead."""
    never = asyncio.Event()

    async def wait(state: MessagesState) -> Any:
        await never.wait()

    graph = StateGraph(MessagesState).add_node(wait).add_edge(START, "wait").compile()
    async with astream(graph, INPUT) as tokens:
        first = asyncio.ensure_future(tokens.__anext__())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="lanes"):
            await tokens.__anext__()
        never.set()
        with pytest.raises(StopAsyncIteration):
            await first


def test_breaking_out_of_a_sync_stream_ends_its_thread(graphs: Any) -> None:
    """After ``break`` and after ``close`` no thread of the run is left."""
    graph = graphs.graph([["invoke", "invoke"]])
    before = set(threading.enumerate())
    with stream(graph, INPUT, config(), buffer=0) as tokens:
        next(tokens)
    assert set(threading.enumerate()) == before
    for _ in stream(graph, INPUT, config(), buffer=0):
        break
    deadline = time.monotonic() + 10
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, left
        for thread in left:
            with suppress(RuntimeError):  # it was just being started
                thread.join(1)


def test_a_stream_works_in_several_event_loops(graphs: Any) -> None:
    """One compiled graph can be streamed in one loop after the other, and in threads."""
    graph = graphs.graph([["ainvoke"]])

    async def count() -> int:
        return len([token async for token in astream(graph, INPUT, config())])

    assert [asyncio.run(count()) for _ in range(3)] == [5, 5, 5]
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(asyncio.run(count()))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [5, 5]


async def test_a_blocking_call_in_an_async_node_is_not_a_deadlock(graphs: Any) -> None:
    """A node that blocks the reader's own loop cannot be held back, and still gets through."""
    model = graphs.model()

    async def block(state: MessagesState) -> Any:
        return {"messages": [model.invoke("say")]}

    if sys.version_info < (3, 11):
        pytest.skip("this node leaves config to Python 3.11")
    graph = StateGraph(MessagesState).add_node(block).add_edge(START, "block").compile()
    assert len([token async for token in astream(graph, INPUT, buffer=0)]) == 5


async def test_arguments_reach_the_graph(graphs: Any) -> None:
    """Every other argument of ``graph.astream`` is passed on."""
    graph = graphs.graph([["ainvoke"], ["ainvoke"]])
    thread = config()
    stopped = astream(graph, INPUT, thread, interrupt_before=["ainvoke_0_1_0"], durability="sync")
    assert len([token async for token in stopped]) == 5
    assert (await graph.aget_state(thread)).next == ("ainvoke_0_1_0",)


async def test_the_context_variables_of_the_reader_are_seen(graphs: Any) -> None:
    """A node sees the context variables that were set where the stream is read."""
    who = contextvars.ContextVar("who", default="nobody")
    seen = []

    async def look(state: MessagesState) -> Any:
        seen.append(who.get())
        return {}

    graph = StateGraph(MessagesState).add_node(look).add_edge(START, "look").compile()
    who.set("me")
    assert [token async for token in astream(graph, INPUT)] == []
    assert seen == ["me"]

    def look_sync(state: MessagesState) -> Any:
        seen.append(who.get())
        return {}

    graph = StateGraph(MessagesState).add_node(look_sync).add_edge(START, "look_sync").compile()
    assert list(stream(graph, INPUT)) == []
    assert seen == ["me", "me"]
