"""A joke and a poem at once: two nodes run in parallel, and their tokens come mixed.

```mermaid
graph TD;
    __start__ --> write_joke;
    __start__ --> write_poem;
    write_joke --> __end__;
    write_poem --> __end__;
```

Its tokens are tagged ``joke`` and ``poem``.
"""

from __future__ import annotations

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from tokenweir.graphs._ready import graph_on_demand, tagged
from tokenweir.graphs.joke_poem import Input, State

__all__ = ["build", "graph"]


def build(
    model: BaseChatModel | str | None = None,
) -> CompiledStateGraph[State, None, Input, State]:
    """The compiled graph.

    Args:
        model: A chat model, or a name for ``chat_model``; its default if left out.
    """
    joke_model = tagged(model, "joke")
    poem_model = tagged(model, "poem")

    async def write_joke(state: Input, config: RunnableConfig) -> dict[str, str]:
        joke = await joke_model.ainvoke(f"Write a joke about {state['topic']}", config)
        return {"joke": joke.text}

    async def write_poem(state: Input, config: RunnableConfig) -> dict[str, str]:
        poem = await poem_model.ainvoke(f"Write a short poem about {state['topic']}", config)
        return {"poem": poem.text}

    return (
        StateGraph(State, input_schema=Input)
        .add_node("write_joke", write_joke)
        .add_node("write_poem", write_poem)
        .add_edge(START, "write_joke")
        .add_edge(START, "write_poem")
        .compile(name="joke_poem_parallel")
    )


graph: CompiledStateGraph[State, None, Input, State]
__getattr__ = graph_on_demand(__name__, build)
