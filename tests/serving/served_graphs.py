"""Graphs that the tests serve: one for each thing that a server must carry."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.base import BaseStore
from langgraph.types import RetryPolicy, Send, interrupt

from tokenweir.models.chat import chat_model
from tokenweir.nodes.node import node

model = chat_model("openai:gpt-4o-mini")


async def talk_node(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    return {"messages": [await model.ainvoke(state["messages"], config)]}


talk = StateGraph(MessagesState).add_node("talk", talk_node).add_edge(START, "talk").compile()
named = (
    StateGraph(MessagesState)
    .add_node("talk", talk_node)
    .add_edge(START, "talk")
    .compile(name="own_name")
)


again = RetryPolicy(initial_interval=0, jitter=False, retry_on=Exception)
retries = (
    StateGraph(MessagesState)
    .add_node("talk", talk_node, retry_policy=again)
    .add_edge(START, "talk")
    .compile(name="retries")
)


class Answer(TypedDict, total=False):
    """What a subgraph gives that runs beside another node."""

    answer: str


class Steps(TypedDict, total=False):
    """State of the graphs below."""

    topic: str
    first: str
    second: str
    answer: str


async def write(prompt: str, config: RunnableConfig) -> str:
    return str((await model.ainvoke(prompt, config)).text)


async def first(state: Steps, config: RunnableConfig) -> Steps:
    return {"first": await write(f"first {state['topic']}", config)}


async def second(state: Steps, config: RunnableConfig) -> Steps:
    return {"second": await write(f"second {state['topic']}", config)}


two_steps = (
    StateGraph(Steps)
    .add_node("first_step", first)
    .add_node("second_step", second)
    .add_edge(START, "first_step")
    .add_edge("first_step", "second_step")
    .compile(name="two_steps")
)


async def beside(state: Steps, config: RunnableConfig) -> Steps:
    """A node whose subgraph's first step may be done when the process is killed."""
    return {}


nested = (
    StateGraph(Steps)
    .add_node("child", two_steps)
    .add_node("beside", beside)
    .add_edge(START, "child")
    .add_edge("child", "beside")
    .compile(name="nested")
)


@node
async def ask(state: Steps, config: RunnableConfig) -> Steps:
    return {"answer": interrupt({"question": f"about {state['topic']}?"})}


asks = (
    StateGraph(Steps)
    .add_node("first_step", first)
    .add_node("ask", ask)
    .add_edge(START, "first_step")
    .add_edge("first_step", "ask")
    .compile(name="asks")
)


asks_inside = (
    StateGraph(Steps).add_node("child", asks).add_edge(START, "child").compile(name="asks_inside")
)


@node
async def custom(state: Steps, config: RunnableConfig) -> Steps:
    writer = get_stream_writer()
    writer({"stage": "start"})
    await asyncio.sleep(0)
    writer({"stage": "end"})
    return {"answer": "done"}


writes = (
    StateGraph(Steps).add_node("custom", custom).add_edge(START, "custom").compile(name="writes")
)


class Fan(TypedDict, total=False):
    """State of a graph whose node runs once for each topic, at once."""

    topics: list[str]
    texts: Annotated[list[str], operator.add]


def spread(state: Fan) -> list[Send]:
    return [Send("one", {"topic": topic}) for topic in state["topics"]]


async def one(state: Steps, config: RunnableConfig) -> Fan:
    return {"texts": [await write(f"about {state['topic']}", config)]}


fans = (
    StateGraph(Fan)
    .add_node("one", one)
    .add_conditional_edges(START, spread, ["one"])
    .compile(name="fans")
)


async def fail(state: Steps, config: RunnableConfig) -> Steps:
    raise ValueError("boom")


fails = StateGraph(Steps).add_node("fail", fail).add_edge(START, "fail").compile(name="fails")


class Counted(TypedDict, total=False):
    """A key that is not text."""

    count: int


def count(state: Counted) -> Counted:
    return {"count": state["count"] + 1}


numbers = StateGraph(Counted).add_node("add", count).add_edge(START, "add").compile(name="numbers")


async def after(state: Steps, config: RunnableConfig) -> Steps:
    return {"second": await write(f"after {state['answer']}", config)}


answers = (
    StateGraph(Steps)
    .add_node("first_step", first)
    .add_node("ask", ask)
    .add_node("after", after)
    .add_edge(START, "first_step")
    .add_edge("first_step", "ask")
    .add_edge("ask", "after")
    .compile(name="answers")
)


@node
async def say_and_ask(state: Steps, config: RunnableConfig) -> Steps:
    said = await write(f"asking {state['topic']}", config)
    return {"first": said, "answer": interrupt("well?")}


waits_beside = (
    StateGraph(Steps)
    .add_node("say_and_ask", say_and_ask)
    .add_node("second_step", second)
    .add_edge(START, "say_and_ask")
    .add_edge(START, "second_step")
    .compile(name="waits_beside")
)


inner = (
    StateGraph(Steps, output_schema=Answer)
    .add_node("first_step", first)
    .add_node("say_and_ask", say_and_ask)
    .add_edge(START, "first_step")
    .add_edge("first_step", "say_and_ask")
    .compile(name="inner")
)


waits_inside = (
    StateGraph(Steps)
    .add_node("child", inner)
    .add_node("second_step", second)
    .add_edge(START, "child")
    .add_edge(START, "second_step")
    .compile(name="waits_inside")
)


async def remember(state: Steps, config: RunnableConfig, *, store: BaseStore) -> Steps:
    """Say how often the topic came, and count it."""
    seen = await store.aget(("seen",), state["topic"])
    count = seen.value["count"] + 1 if seen is not None else 1
    await store.aput(("seen",), state["topic"], {"count": count})
    return {"first": str(count)}


def recall(state: Steps, *, store: BaseStore) -> Steps:
    """The same, in a thread."""
    return {"second": ",".join(sorted(each.key for each in store.search(("seen",))))}


remembers = (
    StateGraph(Steps)
    .add_node("remember", remember)
    .add_node("recall", recall)
    .add_edge(START, "remember")
    .add_edge("remember", "recall")
    .compile(name="remembers")
)
