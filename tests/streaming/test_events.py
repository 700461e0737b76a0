"""``astream_events`` and ``stream_events``: LangGraph's v3 run stream, from our sink."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.stream import StreamTransformer
from langgraph.types import Command, interrupt

from tokenweir import FilterError, astream_events, stream_events
from tokenweir.graphs import agent, joke_poem, joke_poem_parallel
from tokenweir.models.chat import chat_model
from tokenweir.nodes.node import node
from tokenweir.testing import Provider, Reply, ToolCall

pytestmark = pytest.mark.filterwarnings("ignore:The v3 streaming protocol:Warning")

_IDS = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{32}\b")


def plain(value: Any) -> Any:
    """A value to be compared: of messages what they say, as LangGraph's v3 rewrites them."""
    if isinstance(value, BaseMessage):
        calls = getattr(value, "tool_calls", [])
        return (value.type, str(value.text), [(call["name"], call["args"]) for call in calls])
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items() if name != "output_version"}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def compared(events: list[Any]) -> list[str]:
    """Events as text in which ids are the same in every run."""
    seen: dict[str, str] = {}
    found = []
    for event in events:
        params = {n: v for n, v in event["params"].items() if n != "timestamp"}
        if event["method"] == "messages":
            data, metadata = params["data"]
            known = {n: metadata.get(n) for n in ("langgraph_node", "tags", "langgraph_step")}
            params["data"] = (data, known)
        about = (event["method"], event["seq"], plain(params))
        text = json.dumps(about, sort_keys=True, default=repr)
        found.append(_IDS.sub(lambda m: seen.setdefault(m[0], f"id{len(seen)}"), text))
    return found


async def all_events(call: Any, graph: Any, *args: Any, **more: Any) -> Any:
    """The events of a run, its output, and its error."""
    async with await call(graph, *args, **more) as run:
        try:
            events = [event async for event in run]
            return compared(events), plain(await run.output()), len(await run.interrupts())
        except (ValueError, RuntimeError) as error:
            return repr(error)


def theirs(graph: Any, *args: Any, **more: Any) -> Any:
    return graph.astream_events(*args, version="v3", **more)


def model(*replies: str) -> Any:
    return FakeListChatModel(responses=list(replies))


def talks(*replies: str) -> Any:
    """A graph that answers, and writes something of its own."""
    fake = model(*replies)

    @node
    async def talk(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        get_stream_writer()({"stage": "begin"})
        return {"messages": [await fake.ainvoke(state["messages"], config)]}

    return StateGraph(MessagesState).add_node("talk", talk).add_edge(START, "talk").compile()


def nested() -> Any:
    builder = StateGraph(MessagesState).add_node("child", talks("one two"))
    builder.add_node("after", talks("three")).add_edge(START, "child").add_edge("child", "after")
    return builder.compile()


def whole() -> Any:
    """A node that returns an answer without a model."""

    def say(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("as a whole", id="m1")]}

    return StateGraph(MessagesState).add_node("say", say).add_edge(START, "say").compile()


def fails() -> Any:
    fake = model("half")

    @node
    async def fail(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        await fake.ainvoke("x", config)
        raise ValueError("broken")

    return StateGraph(MessagesState).add_node("fail", fail).add_edge(START, "fail").compile()


def asks() -> Any:
    @node
    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"you said {interrupt('well?')}", id="m1")]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask")
    return builder.compile(checkpointer=InMemorySaver())


GRAPHS: dict[str, Callable[[], Any]] = {
    "talks": lambda: talks("hello you"),
    "nested": nested,
    "whole": whole,
    "fails": fails,
    "asks": asks,
}
GIVEN: Any = {"messages": [("user", "hi")]}


@pytest.mark.parametrize("build", GRAPHS.values(), ids=GRAPHS)
async def test_the_same_events(build: Callable[[], Any]) -> None:
    """Same events in the same order, same output and questions, as by LangGraph's own."""
    config: Any = {"configurable": {"thread_id": str(uuid4())}}
    ours = await all_events(astream_events, build(), GIVEN, config)
    assert ours == await all_events(theirs, build(), GIVEN, config)


async def test_the_same_events_of_a_provider(scripted: Provider) -> None:
    """Also on the fast path: texts, usage, tools and their calls."""
    calls = Reply(tool_calls=[ToolCall("calculate", '{"expression": "6*7"}')])
    scripted.on("compute", calls)
    for build, given in (
        (joke_poem.build, {"topic": "x"}),
        (agent.build, {"messages": [("user", "compute")]}),
    ):
        graph = build("openai:gpt-4o-mini")
        ours = await all_events(astream_events, graph, given)
        assert ours == await all_events(theirs, graph, given)


async def test_an_answer_to_a_question() -> None:
    """A command goes on with the run, as elsewhere."""
    graph: Any = asks()
    config: Any = {"configurable": {"thread_id": "1"}}
    async with await astream_events(graph, GIVEN, config) as run:
        assert await run.interrupted()
        assert [each.value for each in await run.interrupts()] == ["well?"]
    async with await astream_events(graph, Command(resume="yes"), config) as run:
        output = await run.output()
    assert output is not None
    assert output["messages"][-1].content == "you said yes"


async def test_projections() -> None:
    """Messages with their texts, values, what nodes write, and subgraphs with their own."""
    async with await astream_events(talks("one two"), GIVEN) as run:
        texts = [await message.text async for message in run.messages]
        assert texts == ["one two"]
    async with await astream_events(nested(), GIVEN) as run:
        found = []
        async for subgraph in run.subgraphs:
            texts = [await message.text async for message in subgraph.messages]
            found.append((subgraph.graph_name, texts))
    assert found == [("child", ["one two"]), ("after", ["three"])]


async def test_only_what_passes(scripted: Provider) -> None:
    """``only`` filters at the source: the poem is not among the messages, all else is."""
    graph = joke_poem_parallel.build("openai:gpt-4o-mini")
    async with await astream_events(graph, {"topic": "x"}, only="tag:joke") as run:
        texts = [await message.text async for message in run.messages]
        output = await run.output()
    assert texts == ["Why did the cat sit down? It was tired."]
    assert output is not None
    assert output["poem"] == "In sunlit patches, sleek and sly."


async def test_leaving_stops_the_run(scripted: Provider) -> None:
    """The end of ``async with`` closes the provider's connection."""
    scripted.on("x", Reply("one two three", stall_after=1))
    graph = chat_graph()
    async with await astream_events(graph, {"messages": [("user", "x")]}) as run:
        async for message in run.messages:
            async for token in message.text:
                assert token == "one"
                break
            break
    scripted.requests[0].wait_closed(60)


async def test_abort_wakes_who_waits(scripted: Provider) -> None:
    """A run that is aborted by another task ends for all of its readers at once."""
    scripted.on("x", Reply("one two three", stall_after=1))
    run = await astream_events(chat_graph(), {"messages": [("user", "x")]})
    shown = asyncio.Event()

    async def read_events() -> list[str]:
        methods = []
        async for event in run:
            methods.append(event["method"])
            if str(event["params"]["data"]).count("text-delta"):
                shown.set()
        return methods

    readers = [asyncio.ensure_future(each) for each in (read_events(), values_of(run))]
    await asyncio.wait_for(shown.wait(), 60)
    await run.abort()
    methods, values = await asyncio.wait_for(asyncio.gather(*readers), 60)
    assert methods == ["values", *["messages"] * 3]
    assert len(values) == 1
    scripted.requests[0].wait_closed(60)


async def values_of(run: Any) -> list[Any]:
    return [value async for value in run.values]


async def test_several_readers(scripted: Provider) -> None:
    """Projections are read at once, each by a task of its own; whoever is next pulls for all."""
    run = await astream_events(chat_graph(), {"messages": [("user", "a cat")]})

    async def texts() -> list[str]:
        return [await message.text async for message in run.messages]

    values, said, output = await asyncio.gather(values_of(run), texts(), run.output())
    assert len(values) == 2
    assert values[-1] == output
    assert said == [output["messages"][-1].text]


def chat_graph() -> Any:
    fast = chat_model("openai:gpt-4o-mini")

    @node
    async def talk(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [await fast.ainvoke(state["messages"], config)]}

    return StateGraph(MessagesState).add_node("talk", talk).add_edge(START, "talk").compile()


def test_in_a_thread() -> None:
    """``stream_events`` is the same without ``async``."""
    jokes, poems = model("ha ha").with_config(tags=["joke"]), model("la la")

    def write(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        said = [each.invoke("x", config) for each in (jokes, poems)]
        return {"messages": said}

    graph = StateGraph(MessagesState).add_node("write", write).add_edge(START, "write").compile()
    with stream_events(graph, GIVEN, only="tag:joke") as run:
        texts = [str(message.text) for message in run.messages]
        assert run.output is not None
        assert len(run.output["messages"]) == 3
    assert texts == ["ha ha"]
    with stream_events(graph, GIVEN) as run:
        ours = compared(list(run))
    with graph.stream_events(GIVEN, version="v3") as run:
        assert compared(list(run)) == ours


async def test_transformers() -> None:
    """A transformer of one's own sees the events, and the modes that it needs are streamed."""

    class Noting(StreamTransformer):
        required_stream_modes = ("custom", "updates")

        def init(self) -> dict[str, Any]:
            self.seen: list[str] = []
            return {"noted": self.seen}

        def process(self, event: Any) -> bool:
            self.seen.append(event["method"])
            return True

    async with await astream_events(talks("a"), GIVEN, transformers=[Noting]) as run:
        await run.output()
    assert {"custom", "updates", "messages", "values"} <= set(run.extensions["noted"])


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"version": "v2"}, ValueError),
        ({"only": "tag:"}, FilterError),
        ({"stream_mode": "values"}, TypeError),
        ({"nonsense": 1}, TypeError),
    ],
)
def test_wrong_arguments(wrong: Any, error: type[Exception]) -> None:
    """are told at the call, or when the run is asked for."""

    async def call() -> None:
        async with await astream_events(talks("a"), GIVEN, **wrong) as run:
            await run.output()

    with pytest.raises(error):
        asyncio.run(call())
    with pytest.raises(TypeError):
        stream_events(object(), GIVEN)  # type: ignore[arg-type]
