"""A joke, then a poem: one node that calls two tagged models in turn.

```mermaid
graph TD;
    __start__ --> call_model;
    call_model --> __end__;
```

Its tokens are tagged ``joke`` and ``poem``.
"""

from __future__ import annotations

from typing import TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from tokenweir.graphs._ready import graph_on_demand, tagged

__all__ = ["Input", "State", "build", "graph"]


class Input(TypedDict):
    """The input of the graph."""

    topic: str


class State(Input):
    """The output of the graph."""

    joke: str
    poem: str


def build(
    model: BaseChatModel | str | None = None,
) -> CompiledStateGraph[State, None, Input, State]:
    """The compiled graph.

    Args:
        model: A chat model, or a name for ``chat_model``; its default if left out.
    """
    joke_model = tagged(model, "joke")
    poem_model = tagged(model, "poem")

    async def call_model(state: State, config: RunnableConfig) -> dict[str, str]:
        topic = state["topic"]
        # On Python 3.10 nothing streams unless config is passed on. Later it does no harm.
        joke = await joke_model.ainvoke(f"Write a joke about {topic}", config)
        poem = await poem_model.ainvoke(f"Write a short poem about {topic}", config)
        return {"joke": joke.text, "poem": poem.text}

    return (
        StateGraph(State, input_schema=Input)
        .add_node("call_model", call_model)
        .add_edge(START, "call_model")
        .compile(name="joke_poem")
    )


graph: CompiledStateGraph[State, None, Input, State]
__getattr__ = graph_on_demand(__name__, build)
