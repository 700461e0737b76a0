"""The tags of a graph's models are found wherever its code holds them."""

from __future__ import annotations

import functools
from typing import Any, TypedDict

from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langgraph.graph import START, StateGraph

from tokenweir.serving.graph_tags import tags_in


class State(TypedDict, total=False):
    """One value."""

    said: Any


def model(*tags: str) -> FakeListChatModel:
    return FakeListChatModel(responses=["x"], tags=list(tags))


GLOBAL = model("global")


def helper() -> Any:
    return GLOBAL.invoke("x")


class Node:
    """A node that holds its model."""

    def __init__(self) -> None:
        self.model = model("held")

    def run(self, state: State) -> State:
        return {"said": self.model.invoke("x")}


def test_they_are_found_in_the_order_of_the_nodes() -> None:
    """In closures, globals, helpers, methods, partials, bindings, sequences, and subgraphs."""
    near = model("near", "langsmith:nostream")

    def closure(state: State) -> State:
        return {"said": near.invoke("x")}

    def through_helper(state: State) -> State:
        return {"said": helper()}

    def partial(state: State, *, used: Any) -> State:
        return {"said": used.invoke("x")}

    sequence: Any = RunnableLambda(lambda state: "x") | model().with_config(tags=["bound"])
    parallel: Any = RunnableParallel(said=RunnableLambda(lambda state: "x") | model("beside"))
    below = StateGraph(State).add_node("in", closure).add_edge(START, "in").compile()
    builder: Any = StateGraph(State)
    nodes: dict[str, Any] = {
        "helper": through_helper,
        "method": Node().run,
        "partial": functools.partial(partial, used=model("partial")),
        "sequence": sequence,
        "parallel": parallel,
        "below": below,
    }
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(START, name)
    tags = tags_in(builder.compile())
    assert set(tags) == {"global", "held", "partial", "bound", "beside", "near"}


def test_what_cannot_be_looked_into_has_none() -> None:
    """A graph that is none, and one without models, have no tags; circles come to an end."""

    def around(state: State) -> State:
        return again(state)

    def again(state: State) -> State:
        return around(state)

    graph = StateGraph(State).add_node("a", around).add_edge(START, "a").compile()
    assert tags_in(graph) == []
    assert tags_in(RunnableLambda(lambda value: value)) == []
    assert tags_in(object()) == []
