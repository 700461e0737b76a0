"""A conversation: messages in, an answer out, and a checkpointer that remembers each thread.

```mermaid
graph TD;
    __start__ --> respond;
    respond --> __end__;
```

Turns with the same ``thread_id`` are one conversation::

    config = {"configurable": {"thread_id": "1"}}
    async for chunk, metadata in astream(graph, {"messages": "Hello!"}, config): ...
"""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import SystemMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from tokenweir.graphs._ready import graph_on_demand, tagged

__all__ = ["build", "graph"]


def build(
    model: BaseChatModel | str | None = None,
    *,
    system: str = "You are a friendly assistant. Answer in one or two sentences.",
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[MessagesState, None, MessagesState, MessagesState]:
    """The compiled graph.

    Args:
        model: A chat model, or a name for ``chat_model``; its default if left out.
        system: The system message.
        checkpointer: Keeps the threads; in memory by default.
    """
    chat_model = tagged(model)

    async def respond(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        messages = [SystemMessage(system), *state["messages"]]
        return {"messages": [await chat_model.ainvoke(messages, config)]}

    return (
        StateGraph(MessagesState)
        .add_node("respond", respond)
        .add_edge(START, "respond")
        .compile(checkpointer=checkpointer or InMemorySaver(), name="chat")
    )


graph: CompiledStateGraph[MessagesState, None, MessagesState, MessagesState]
__getattr__ = graph_on_demand(__name__, build)
