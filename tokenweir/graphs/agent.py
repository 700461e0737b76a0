"""An agent: a model that calls tools until it can answer. The tools work offline.

```mermaid
graph TD;
    __start__ --> call_model;
    call_model -.-> __end__;
    call_model -.-> tools;
    tools --> call_model;
```

The embedded model is too small to be an agent. It is made to call a tool first (llama.cpp lets it
write nothing but a call) and to answer afterwards, and still it mostly takes the wrong tool: of 20
sums and questions about the time it answered 3 right. It shows how tool calls are streamed; for
right answers take a larger model.
"""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from tokenweir.graphs._ready import graph_on_demand, tagged
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
        choosing = answering.bind_tools(TOOLS, tool_choice="required")
        always = False
    else:
        choosing = answering.bind_tools(TOOLS)
        always = True

    async def call_model(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        asked = isinstance(state["messages"][-1], HumanMessage)
        chosen = choosing if always or asked else answering
        messages = [SystemMessage(SYSTEM), *state["messages"]]
        return {"messages": [await chosen.ainvoke(messages, config)]}

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
