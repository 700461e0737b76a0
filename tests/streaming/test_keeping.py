"""A stopped run keeps what its reader was given: in the state, and in an order that models take."""

from __future__ import annotations

import asyncio
import json
import operator
import random
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    ToolMessage,
    convert_to_openai_messages,
)
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel._loop import NULL_TASK_ID as LANGGRAPHS  # type: ignore[attr-defined]
from typing_extensions import TypedDict

from tests.generated_graphs import SEEDS, build, describe, script
from tokenweir import astream, chat_model, from_node, stream, text
from tokenweir.streaming._langgraph import keeping
from tokenweir.streaming.shown import Shown, in_order
from tokenweir.testing import Provider, Reply, ToolCall

CONFIG: RunnableConfig = {"configurable": {"thread_id": "1"}}
HI: Any = {"messages": [("user", "hi")]}


def model_of(provider: Provider, **kwargs: Any) -> Any:
    return chat_model(
        "openai:gpt-4o-mini", base_url=provider.base_url, api_key="test", max_retries=0, **kwargs
    )


def asks(model: Any, prompt: str | None = None) -> Any:
    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(prompt or state["messages"], config)]}

    return ask


def beside(**nodes: Any) -> Any:
    """A graph whose nodes run at once, with checkpoints."""
    builder = StateGraph(MessagesState)
    for name, node in nodes.items():
        builder.add_node(name, node).add_edge(START, name)
    return builder.compile(checkpointer=InMemorySaver())


async def read_to(graph: Any, word: str, **options: Any) -> None:
    """Stream a run, and stop it when this word comes."""
    async with astream(graph, HI, CONFIG, on_stop="keep", **options) as parts:
        async for part in parts:
            chunk = part[-1][0] if isinstance(part[0], tuple) else part[0]
            if word in str(chunk.content) or word in str(getattr(chunk, "tool_call_chunks", "")):
                return
    raise AssertionError(f"{word} did not come")


def kept(graph: Any) -> list[tuple[str, str, bool]]:
    """The messages of the thread: type, text, and whether marked as interrupted."""
    state = graph.get_state(CONFIG)
    assert state.next == ()
    assert not state.tasks
    return [
        (message.type, str(message.text), message.response_metadata.get("interrupted", False))
        for message in state.values["messages"]
    ]


def check_order(messages: list[dict[str, Any]]) -> None:
    """Check a request as OpenAI does: after tool calls come their results, and only there."""
    due: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            due.remove(message["tool_call_id"])
            continue
        assert not due, f"no result for {due} before {message}"
        due = {call["id"] for call in message.get("tool_calls") or ()}
        for call in message.get("tool_calls") or ():
            json.loads(call["function"]["arguments"])
    assert not due, f"no result for {due}"


def test_langgraphs_constant() -> None:
    """Writes under this id belong to no task."""
    assert keeping.NULL_TASK_ID == LANGGRAPHS


async def stop_by_break(parts: Any) -> None:
    async for chunk, _ in parts:
        if "two" in chunk.content:
            break
    await parts.aclose()


async def stop_by_cancel(parts: Any) -> None:
    seen = asyncio.Event()

    async def read() -> None:
        async for chunk, _ in parts:
            if "two" in chunk.content:
                seen.set()

    task = asyncio.create_task(read())
    await seen.wait()
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("stop", [stop_by_break, stop_by_cancel])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_cut_answer(
    provider: Provider, stop: Callable[[Any], Any], durability: Any
) -> None:
    """The state has the text that was given, under its id; the next turn begins anew."""
    provider.reply(Reply("one two three four", hold_after=2), "good")
    graph = beside(ask=asks(model_of(provider)))
    ids = set()
    parts = astream(graph, HI, CONFIG, on_stop="keep", durability=durability)

    async def noting() -> Any:
        async for chunk, metadata in parts:
            ids.add(chunk.id)
            yield chunk, metadata

    if stop is stop_by_cancel:
        await stop(parts)
    else:
        async for chunk, _ in parts:
            ids.add(chunk.id)
            if "two" in chunk.content:
                break
        await parts.aclose()
        assert {graph.get_state(CONFIG).values["messages"][-1].id} == ids
    assert kept(graph) == [("human", "hi", False), ("ai", "one two", True)]
    async for _ in astream(graph, {"messages": [("user", "go on")]}, CONFIG):
        pass
    roles = [message["role"] for message in provider.requests[-1].body["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert kept(graph)[-1] == ("ai", "good", False)


def test_sync(provider: Provider) -> None:
    """Sync streams keep as well."""
    provider.reply(Reply("one two three four", every=0.01))
    model = model_of(provider)
    graph = beside(ask=lambda state: {"messages": [model.invoke("hi")]})
    modes: list[Any] = ["messages", "values"]
    ways: list[Any] = [{}, {"stream_mode": modes, "version": "v2"}]
    for options in ways:
        with stream(graph, HI, CONFIG, on_stop="keep", **options) as parts:
            for part in parts:
                data = part["data"] if options and part["type"] == "messages" else part
                if isinstance(data, tuple) and "two" in data[0].content:
                    break
        assert kept(graph)[-1] == ("ai", "one two", True)
        provider.reply(Reply("one two three four", every=0.01))


async def test_without_it_nothing_is_kept(provider: Provider) -> None:
    """By default a stop leaves what LangGraph leaves."""
    provider.reply(Reply("one two three four", hold_after=2))
    graph = beside(ask=asks(model_of(provider)))
    async with astream(graph, HI, CONFIG) as parts:
        async for chunk, _ in parts:
            if "two" in chunk.content:
                break
    state = graph.get_state(CONFIG)
    assert [message.type for message in state.values["messages"]] == ["human"]
    assert state.next == ("ask",)


async def test_nodes_beside_each_other(provider: Provider) -> None:
    """What a node gave that was done stands once; each cut answer is kept."""
    model = model_of(provider)
    provider.on("<a>", Reply("one two", hold_after=1))
    provider.on("<b>", Reply("three four", hold_after=1))
    done = asyncio.Event()

    async def quick(state: MessagesState) -> Any:
        done.set()
        return {"messages": [AIMessage("quick", id="quick")]}

    graph = beside(a=asks(model, "<a>"), b=asks(model, "<b>"), quick=quick)
    seen = ""
    async with astream(graph, HI, CONFIG, on_stop="keep") as parts:
        async for chunk, _ in parts:
            seen += str(chunk.content)
            if "one" in seen and "three" in seen and "quick" in seen:
                break
    messages = kept(graph)
    assert messages[0] == ("human", "hi", False)
    assert sorted(messages[1:]) == [
        ("ai", "one", True),
        ("ai", "quick", False),
        ("ai", "three", True),
    ]


async def test_what_a_filter_kept_back(provider: Provider) -> None:
    """What the reader was not given is not kept."""
    model = model_of(provider)
    provider.on("<a>", Reply("one two", hold_after=1))
    provider.on("<b>", Reply("three four", hold_after=1))
    graph = beside(a=asks(model, "<a>"), b=asks(model, "<b>"))
    await read_to(graph, "one", only=from_node("a") & text)
    assert kept(graph) == [("human", "hi", False), ("ai", "one", True)]


async def test_a_subgraph(provider: Provider) -> None:
    """What nodes of a subgraph said, cut or not, is in the state of the graph that was streamed."""
    model = model_of(provider)
    provider.on("<a>", "one two")
    provider.on("<b>", Reply("three four", hold_after=1))
    inner = StateGraph(MessagesState)
    inner.add_node("a", asks(model, "<a>")).add_edge(START, "a")
    inner.add_node("b", asks(model, "<b>")).add_edge("a", "b")
    graph = beside(inner=inner.compile())
    await read_to(graph, "three", subgraphs=True)
    assert kept(graph) == [
        ("human", "hi", False),
        ("ai", "one two", False),
        ("ai", "three", True),
    ]


async def test_what_a_node_kept_to_itself(provider: Provider) -> None:
    """What a node said and did not give to the state, before it was done, is not kept."""
    model = model_of(provider)
    provider.on("<a>", "thoughts")
    provider.on("<b>", Reply("one two", hold_after=1))

    async def think(state: MessagesState, config: RunnableConfig) -> None:
        await model.ainvoke("<a>", config)

    builder = StateGraph(MessagesState).add_node("think", think).add_edge(START, "think")
    builder.add_node("say", asks(model, "<b>")).add_edge("think", "say")
    graph = builder.compile(checkpointer=InMemorySaver())
    await read_to(graph, "one")
    assert kept(graph) == [("human", "hi", False), ("ai", "one", True)]


@pytest.mark.parametrize("when", ["in the call", "in the tool"])
async def test_tool_calls(provider: Provider, when: str) -> None:
    """A tool call that has no result is closed by a message that says so."""
    call = ToolCall("search", '{"query": "black cats"}', pieces=2)
    provider.reply(Reply("Let me see.", tool_calls=[call]))
    running = asyncio.Event()

    async def tools(state: MessagesState) -> None:
        running.set()
        if isinstance(state["messages"][-1], AIMessage) and state["messages"][-1].tool_calls:
            await asyncio.Event().wait()

    builder = StateGraph(MessagesState).add_node("ask", asks(model_of(provider)))
    builder.add_node("tools", tools).add_edge(START, "ask").add_edge("ask", "tools")
    graph: Any = builder.compile(checkpointer=InMemorySaver())
    if when == "in the call":
        await read_to(graph, "query")
    else:
        parts = astream(graph, HI, CONFIG, on_stop="keep")

        async def read() -> None:
            async for _ in parts:
                pass

        task = asyncio.create_task(read())
        await running.wait()
        task.cancel()
        await asyncio.wait([task])
    _, answer, result = graph.get_state(CONFIG).values["messages"]
    assert answer.text == "Let me see."
    assert [each["name"] for each in answer.tool_calls] == ["search"]
    assert answer.response_metadata.get("interrupted", False) is (when == "in the call")
    assert isinstance(result, ToolMessage)
    assert (result.tool_call_id, result.status) == ("call_1", "error")
    assert "interrupted" in str(result.content)
    provider.reply("good")
    await graph.ainvoke({"messages": [HumanMessage("go on")]}, CONFIG)
    check_order(provider.requests[-1].body["messages"])


@pytest.mark.parametrize("reducer", ["MessagesState", "operator.add"])
async def test_a_tool_call_that_another_branch_speaks_after(
    provider: Provider, reducer: str
) -> None:
    """A call is closed right behind its answer, also if the state goes on with another's."""
    model = model_of(provider)
    provider.on("<a>", Reply("Let me see.", tool_calls=[ToolCall("search", "{}")]))
    provider.on("<b>", "I am another.")
    running = asyncio.Event()

    async def tools(state: Any) -> None:
        running.set()
        await asyncio.Event().wait()

    State = MessagesState if reducer == "MessagesState" else AddedMessages  # noqa: N806
    builder: Any = StateGraph(State).add_node("a", asks(model, "<a>"), input_schema=State)
    builder.add_node("b", asks(model, "<b>"), input_schema=State).add_node("tools", tools)
    builder.add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], "tools")
    graph = builder.compile(checkpointer=InMemorySaver())
    parts = astream(graph, {"messages": [HumanMessage("hi")]}, CONFIG, on_stop="keep")

    async def read() -> None:
        async for _ in parts:
            pass

    task = asyncio.create_task(read())
    await running.wait()
    task.cancel()
    await asyncio.wait([task])
    messages = graph.get_state(CONFIG).values["messages"]
    assert [each.type for each in messages] == ["human", "ai", "tool", "ai"]
    provider.on("go on", "good")
    check_order(convert_to_openai_messages(messages))
    await model.ainvoke([*messages, HumanMessage("go on")])
    check_order(provider.requests[-1].body["messages"])


def test_results_and_their_calls() -> None:
    """Ids of calls may come again; results go to the call before them, and orphans away."""

    def asking(id: str) -> AIMessage:
        return AIMessage("", id=id, tool_calls=[{"name": "f", "args": {}, "id": "call_1"}])

    def result(id: str, call: str = "call_1") -> ToolMessage:
        return ToolMessage("", id=id, tool_call_id=call)

    def ids(*args: Any) -> list[str | None]:
        return [message.id for message in in_order(*args)]

    whole = [HumanMessage("hi", id="1"), asking("2"), result("3"), asking("4"), result("5")]
    assert ids(whole, []) == ["1", "2", "3", "4", "5"]
    assert ids(whole[:4], []) == ["1", "2", "3", "4", None]
    assert ids(whole[:3], [AIMessage("b", id="b"), *whole[3:]]) == ["1", "2", "3", "b", "4", "5"]
    assert ids(whole[:2], [result("orphan", "call_2")]) == ["1", "2", None]
    assert ids([*whole[:2], AIMessage("b", id="b")], [result("3")]) == ["1", "2", "3", "b"]


class AddedMessages(TypedDict):
    messages: Annotated[list[Any], operator.add]


class NoMessages(TypedDict):
    joke: str


async def test_where_nothing_can_be_kept(provider: Provider) -> None:
    """A graph that has nowhere to keep what was shown is refused at the call, with the reason."""
    node = asks(model_of(provider))
    bare: Any = StateGraph(MessagesState).add_node("ask", node).add_edge(START, "ask").compile()
    with pytest.raises(ValueError, match="no checkpointer: compile it with one"):
        astream(bare, HI, CONFIG, on_stop="keep")
    other: Any = StateGraph(NoMessages).add_node("ask", lambda state: state)
    other = other.add_edge(START, "ask").compile(checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="no key `messages` with a reducer"):
        stream(other, {"joke": ""}, CONFIG, on_stop="keep")
    wrong: Any = "discard"
    with pytest.raises(ValueError, match="on_stop is 'keep' or None"):
        astream(bare, HI, CONFIG, on_stop=wrong)


@pytest.mark.parametrize("sync", [False, True])
async def test_generated_graphs_that_are_stopped(provider: Provider, sync: bool) -> None:
    """Wherever a run is stopped, its state has what was shown, and its next turn succeeds."""
    for seed in SEEDS:
        chance = random.Random(seed)
        description = describe(seed, faults=chance.random() < 0.5)
        description.checkpointer = True
        script(provider, description)
        graph = build(description, sync=sync, base_url=provider.base_url, api_key="test")
        count = chance.randint(1, 30)
        shown: dict[str, str] = {}

        def take(token: Any, shown: dict[str, str] = shown) -> None:
            message = token[0]
            if message.type == "remove":
                del shown[message.id]
            else:
                shown[message.id] = shown.get(message.id, "") + str(message.text)

        options: Any = {"subgraphs": True, "on_stop": "keep", "buffer": chance.choice([0, 256])}
        if sync:
            await asyncio.to_thread(_read_some, stream(graph, HI, CONFIG, **options), count, take)
        else:
            async with astream(graph, HI, CONFIG, **options) as parts:
                async for _, token in parts:
                    take(token)
                    if (count := count - 1) == 0:
                        break
        state = graph.get_state(CONFIG)
        _, *held = state.values["messages"]
        given = {m.id: shown.get(m.id, "") for m in held}
        assert given.keys() >= shown.keys(), f"graph {seed}"
        for message in held:
            # Of a node that was done the state has all, and the reader perhaps the beginning.
            cut = message.response_metadata.get("interrupted")
            assert str(message.text).startswith(given[message.id]), f"graph {seed}"
            assert not cut or message.text == given[message.id], f"graph {seed}"
        script(provider, describe(seed, faults=False))
        async for _ in _next_turn(graph, sync=sync):
            pass
        assert not graph.get_state(CONFIG).next, f"graph {seed}"


def _read_some(parts: Any, count: int, take: Callable[[Any], None]) -> None:
    with parts:
        for _, token in parts:
            take(token)
            if (count := count - 1) == 0:
                break


async def _next_turn(graph: Any, *, sync: bool) -> Any:
    given = {"messages": [HumanMessage("go on")]}
    if sync:
        for part in await asyncio.to_thread(list, stream(graph, given, CONFIG)):
            yield part
    else:
        async for part in astream(graph, given, CONFIG):
            yield part


def test_a_message_that_ended_is_not_marked() -> None:
    """A message is marked only if its end did not come."""
    shown = Shown()
    place = {"langgraph_checkpoint_ns": "ask:1|in:2"}
    shown.take(AIMessageChunk(content="whole", id="a", chunk_position="last"), place)
    shown.take(AIMessageChunk(content="cut", id="b"), place)
    whole, cut = shown.left(set(), {"ask:1"})
    assert whole.response_metadata == {}
    assert cut.response_metadata == {"interrupted": True}
