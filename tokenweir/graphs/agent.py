"""An agent: a model that calls tools until it can answer. The tools work offline.

```mermaid
graph TD;
    __start__ --> call_model;
    call_model -.-> __end__;
    call_model -.-> tools;
    tools --> call_model;
```

The embedded model is small for an agent. It is shown a conversation in which each tool is used
(``agent_examples.py``) and takes the likeliest token each time; this way it works out plain sums
and tells the time. It drops parentheses, and cannot answer other questions.
"""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import SystemMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from tokenweir.graphs._ready import graph_on_demand, tagged
from tokenweir.graphs.agent_examples import EXAMPLES, LIKELIEST
from tokenweir.graphs.agent_tools import TOOLS
from tokenweir.models.chat import LocalChatModel

__all__ = ["build", "graph"]

SYSTEM = "You are a helpful assistant. Use the tools for arithmetic, for the time and for counting."


def build(
    model: BaseChatModel | str | None = None,
) -> CompiledStateGraph[MessagesState, None, MessagesState, MessagesState]:
    """The compiled graph.

    Args:
        model: A chat model that can call tools, or a name for ``chat_model``, whose default is used
            if this is left out.
    """
    answering = tagged(model)
    if isinstance(answering, LocalChatModel):
        before = [SystemMessage("Answer by one of the tools."), *EXAMPLES]
        choosing = answering.bind_tools(TOOLS, **LIKELIEST)
    else:
        before = [SystemMessage(SYSTEM)]
        choosing = answering.bind_tools(TOOLS)

    async def call_model(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [await choosing.ainvoke([*before, *state["messages"]], config)]}

    return (
        StateGraph(MessagesState)
        .add_node("call_model", call_model)
        .add_node("tools", ToolNode(TOOLS, handle_tool_errors=True))
        .add_edge(START, "call_model")
        .add_conditional_edges("call_model", tools_condition)
        .add_edge("tools", "call_model")
        .compile(name="agent")
    )


graph: CompiledStateGraph[MessagesState, None, MessagesState, MessagesState]
__getattr__ = graph_on_demand(__name__, build)
