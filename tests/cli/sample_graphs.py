"""Graphs for the tests of the command line.

Each is a factory, so that its models see the test's environment. ``@node`` stands where LangGraph
itself looks for the config, which on Python 3.10 it would not find: interrupts and writers.
"""

from __future__ import annotations

import threading
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import StreamWriter, interrupt

from tokenweir.models.chat import chat_model
from tokenweir.nodes.node import node


class Topic(TypedDict):
    topic: str


class Written(Topic, total=False):
    times: int
    joke: str
    poem: str


def _writing(tag: str) -> Any:
    model = chat_model("openai:gpt-4o-mini", tags=[tag], max_retries=0)

    async def write(state: Written, config: RunnableConfig) -> dict[str, str]:
        answer = await model.ainvoke(f"a {tag} about {state['topic']}", config)
        return {tag: answer.text}

    return write


def in_turn() -> Any:
    """A joke, then a poem."""
    builder = StateGraph(Written)
    builder.add_node("joking", _writing("joke")).add_node("rhyming", _writing("poem"))
    return builder.add_edge(START, "joking").add_edge("joking", "rhyming")


def at_once() -> Any:
    """A joke and a poem at the same time."""
    builder = StateGraph(Written)
    builder.add_node("joking", _writing("joke")).add_node("rhyming", _writing("poem"))
    return builder.add_edge(START, "joking").add_edge(START, "rhyming")


def nested() -> Any:
    """A joke, written in a subgraph."""
    inner = StateGraph(Written).add_node("joking", _writing("joke")).add_edge(START, "joking")
    builder = StateGraph(Written).add_node("editor", inner.compile())
    return builder.add_edge(START, "editor")


def with_agent() -> Any:
    """An agent that is a node, and a model beside it."""
    researcher = create_agent(chat_model("openai:gpt-4o-mini"), name="researcher")
    model = chat_model("openai:gpt-4o-mini")

    async def talk(state: MessagesState, config: RunnableConfig) -> None:
        await model.ainvoke("hello", config)

    builder: Any = StateGraph(MessagesState).add_node("research", researcher)
    builder.add_node("talk", talk).add_edge(START, "research").add_edge(START, "talk")
    return builder.compile()


def chat(checkpointer: Any = None) -> Any:
    """A conversation that remembers."""
    model = chat_model("openai:gpt-4o-mini")

    async def answer(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    builder = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    return builder.compile(checkpointer=checkpointer or InMemorySaver())


def forgetful() -> Any:
    """A conversation without a checkpointer."""

    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"{len(state['messages'])} so far", id="1")]}

    return StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").compile()


def asking() -> Any:
    """Waits for a person, in a subgraph."""

    @node
    def ask(state: Topic) -> dict[str, Any]:
        return {"topic": interrupt(f"May I write about {state['topic']}?")}

    inner = StateGraph(Topic).add_node("ask", ask).add_edge(START, "ask").compile()
    builder = StateGraph(Topic).add_node("outer", inner).add_edge(START, "outer")
    return builder.compile(checkpointer=InMemorySaver())


def cautious() -> Any:
    """A conversation that asks before it answers."""

    @node
    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [interrupt(f"Answer {state['messages'][-1].content}?")]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask")
    return builder.compile(checkpointer=InMemorySaver())


def by_hand() -> Any:
    """Writes tokens and other things itself, and prints."""

    @node
    def write(state: Topic, writer: StreamWriter) -> dict[str, Any]:
        print("printed by a node")
        writer({"progress": 0.5})
        writer(({"content": "by"}, {"tags": ["own"]}))
        writer((AIMessageChunk(content=" hand"), {"tags": ["own"]}))
        writer("plain \x1b[2J words")
        return {}

    return StateGraph(Topic).add_node("write", write).add_edge(START, "write").compile()


class Messages(TypedDict):
    messages: Annotated[list[Any], add_messages]


def failing() -> Any:
    """A node that fails, with a message of two lines."""

    def fail(state: Messages) -> dict[str, Any]:
        raise ValueError("no\ncats \x1b[2J here")

    return StateGraph(Messages).add_node("fails", fail).add_edge(START, "fails").compile()


def blocking() -> Any:
    """A sync node that sits in a call that nothing interrupts."""

    def block(state: Topic) -> dict[str, Any]:
        print("blocked", flush=True)
        threading.Event().wait()
        return {}

    return StateGraph(Topic).add_node("blocks", block).add_edge(START, "blocks").compile()
