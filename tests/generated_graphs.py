"""Graphs that are generated from a number: rows and branches of nodes, some of them graphs, in
which providers are cut, calls are repeated and nodes fail and run again.

``TOKENWEIR_GENERATED=1000 make test ARGS="--timeout=0 -k generated"`` tries so many of each kind of
stream.
``g17`` of this module is the graph of number 17, for a server.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy

from tokenweir.models.chat import chat_model
from tokenweir.testing import Provider, Reply

__all__ = ["SEEDS", "Asks", "Graph", "added_up", "build", "describe", "expected", "script"]

SEEDS = range(int(os.environ.get("TOKENWEIR_GENERATED", "25")))
"""The numbers of the graphs that each test tries."""

POLICY = RetryPolicy(initial_interval=0, jitter=False, max_attempts=9, retry_on=Exception)


@dataclass
class Asks:
    """A node that asks a model.

    Attributes:
        name: The node's name, and the prompt, which the answer repeats.
        behind: The node's predecessor.
        plain: Whether the model is ``ChatOpenAI`` itself.
        repeats: What repeats a failed call: ``""`` for the node's policy, ``retry``, ``fallbacks``.
        cuts: After how many tokens the first answers are cut.
        fails: How often the node fails after the answer.
    """

    name: str
    behind: str
    plain: bool
    repeats: str
    cuts: list[int]
    fails: int


@dataclass
class Graph:
    """A graph; below the top it is a node.

    Attributes:
        called: Whether a function calls it, and fails so often afterwards. Else it is the node.
    """

    name: str
    behind: str
    nodes: list[Asks | Graph] = field(default_factory=list)
    called: bool = False
    fails: int = 0
    checkpointer: Any = None


def describe(seed: int, *, faults: bool = True) -> Graph:
    """The graph of a number; without ``faults`` all goes well in it at once."""
    chance = random.Random(seed)
    graph = _graph(chance, f"g{seed}", START, 0, faults)
    graph.checkpointer = chance.random() < 0.5
    return graph


def _graph(chance: random.Random, name: str, behind: str, depth: int, faults: bool) -> Graph:
    graph = Graph(name, behind, checkpointer=chance.choice([None, None, False]))
    row = [START]
    for number in range(chance.randint(1, 3)):
        here, before = f"{name}-{number}", chance.choice(row[-2:])
        if depth < 2 and chance.random() < 0.35:
            below = _graph(chance, here, before, depth + 1, faults)
            below.called = chance.random() < 0.5
            below.fails = chance.randint(0, 1) if faults else 0
            graph.nodes.append(below)
        else:
            graph.nodes.append(_asks(chance, here, before, faults))
        row.append(here)
    return graph


def _asks(chance: random.Random, name: str, behind: str, faults: bool) -> Asks:
    cuts = [chance.randint(0, 2) for _ in range(chance.randint(0, 2))]
    repeats = chance.choice(["", "retry", "fallbacks"])
    fails = chance.randint(0, 1)
    plain = chance.random() < 0.3
    return Asks(name, behind, plain, repeats, cuts if faults else [], fails if faults else 0)


def _asking(graph: Graph) -> Iterator[Asks]:
    for node in graph.nodes:
        if isinstance(node, Graph):
            yield from _asking(node)
        else:
            yield node


def expected(graph: Graph) -> list[str]:
    """The texts of the graph's messages at its end, sorted."""
    return sorted(_answer(node) for node in _asking(graph))


def _answer(node: Asks) -> str:
    return f"this is what {node.name} says"


def script(provider: Provider, graph: Graph) -> None:
    """Have the provider answer the graph's calls, and nothing else."""
    provider._rules.clear()
    for node in _asking(graph):
        faults = [Reply("one two three", cut_after=after) for after in node.cuts]
        provider.on(f"<{node.name}>", *faults, _answer(node))


def build(graph: Graph, *, sync: bool = False, depth: int = 0, **model: Any) -> Any:
    """The compiled graph.

    Args:
        graph: What it is.
        sync: Whether its nodes are plain functions.
        depth: Of the graph, 0 at the top.
        **model: Arguments for its models.
    """
    builder = StateGraph(MessagesState)
    for node in graph.nodes:
        made: Any
        if isinstance(node, Graph):
            made = build(node, sync=sync, depth=depth + 1, **model)
            made = _calls(node, made, sync=sync) if node.called else made
        else:
            made = _asks_node(node, sync=sync, **model)
        builder.add_node(node.name, made, retry_policy=POLICY)
        builder.add_edge(node.behind, node.name)
    saver = graph.checkpointer
    return builder.compile(
        checkpointer=(InMemorySaver() if saver else None) if not depth else saver
    )


def _calls(node: Graph, graph: Any, *, sync: bool) -> Any:
    failures = [True] * node.fails

    def call(state: MessagesState, config: RunnableConfig) -> Any:
        done = graph.invoke(state, config)
        if failures:
            raise ConnectionError(f"after the graph, {failures.pop()}")
        return done

    async def acall(state: MessagesState, config: RunnableConfig) -> Any:
        done = await graph.ainvoke(state, config)
        if failures:
            raise ConnectionError(f"after the graph, {failures.pop()}")
        return done

    return call if sync else acall


@cache
def _model(plain: bool, **given: Any) -> Any:
    if plain:
        return ChatOpenAI(model="gpt-4o-mini", max_retries=0, **given)
    return chat_model("openai:gpt-4o-mini", max_retries=0, **given)


def _asks_node(node: Asks, *, sync: bool, **given: Any) -> Any:
    model = one = _model(node.plain, **given)
    if node.repeats == "retry":
        model = model.with_retry(wait_exponential_jitter=False)
    elif node.repeats == "fallbacks":
        model = model.with_fallbacks([one, one])
    failures = [True] * node.fails

    def ask(state: MessagesState, config: RunnableConfig) -> Any:
        answer = model.invoke(f"<{node.name}>", config)
        if failures:
            raise ConnectionError(f"after the answer, {failures.pop()}")
        return {"messages": [answer]}

    async def aask(state: MessagesState, config: RunnableConfig) -> Any:
        answer = await model.ainvoke(f"<{node.name}>", config)
        if failures:
            raise ConnectionError(f"after the answer, {failures.pop()}")
        return {"messages": [answer]}

    return ask if sync else aask


def added_up(tokens: list[tuple[BaseMessage, Any]]) -> dict[str | None, str]:
    """The text of each message that was not retracted."""
    texts: dict[str | None, str] = {}
    for message, _ in tokens:
        if isinstance(message, RemoveMessage):
            del texts[message.id]  # fails for one that was not shown
        elif isinstance(message, AIMessage):
            texts[message.id] = texts.get(message.id, "") + str(message.text)
    return texts


def __getattr__(name: str) -> Any:
    if not name.removeprefix("g").isdecimal():
        raise AttributeError(name)
    return build(describe(int(name[1:])))
