"""Graphs over plain state, and others that simple clients meet, for the server's own process."""

from __future__ import annotations

from typing import Any, TypedDict

from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from tokenweir.graphs.agent import build as build_agent
from tokenweir.models.chat import chat_model
from tokenweir.nodes.node import node
from tokenweir.nodes.write_tokens import write_tokens


class Numbers(TypedDict, total=False):
    """Two keys of different types, and what comes out."""

    name: str
    count: int
    said: str


def _graph(state: type[Any], **nodes: Any) -> Any:
    """The nodes one after the other."""
    builder: Any = StateGraph(state)
    before = START
    for name, step in nodes.items():
        builder.add_node(name, step)
        builder.add_edge(before, name)
        before = name
    return builder.compile()


def _side_by_side(state: type[Any], **nodes: Any) -> Any:
    """The nodes at the same time."""
    builder: Any = StateGraph(state)
    for name, step in nodes.items():
        builder.add_node(name, step)
        builder.add_edge(START, name)
    return builder.compile()


def repeat_name(state: Numbers) -> dict[str, Any]:
    """Says the name so often, without any model."""
    return {"said": " ".join([state["name"]] * state.get("count", 1))}


@node
def ask(state: Numbers) -> dict[str, Any]:
    """Waits for an answer."""
    return {"said": f"{state['name']} is {interrupt({'question': 'how old?'})}"}


@node
def write_by_hand(state: Numbers) -> dict[str, Any]:
    """Writes the tokens of a client without LangChain."""
    deltas = [{"content": "by "}, {"content": "hand"}]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    return {"said": write_tokens(chunks, tags=["hand"]).text}


def fail(state: Numbers) -> dict[str, Any]:
    """Fails without having said anything."""
    raise ValueError("the node is broken")


@node
def ask_again(state: Numbers) -> dict[str, Any]:
    """Waits for another answer at the same time; says nothing, as the other node does."""
    interrupt("where?")
    return {}


def _write_much(number: int) -> Any:
    """A node that writes, with a tag of its own; the model is asked for the name and the number."""
    model = chat_model("openai:gpt-4o-mini", tags=[f"tag {number}"])

    @node
    async def write(state: Numbers) -> dict[str, Any]:
        await model.ainvoke(f"{state['name']} {number}")
        return {}

    return write


def call_weather(state: MessagesState) -> dict[str, Any]:
    """Wants the client to call a tool."""
    call = {"name": "weather", "args": {"city": "Oslo"}, "id": "call_9"}
    return {"messages": [AIMessage("", tool_calls=[call])]}


repeat = _graph(Numbers, repeat=repeat_name)
asking = _graph(Numbers, ask=ask)
two_questions = _side_by_side(Numbers, ask=ask, ask_again=ask_again)
many = _side_by_side(Numbers, **{f"write_{number}": _write_much(number) for number in range(20)})
quoted = _graph(Numbers, **{"<img src=x onerror=alert(1)>": _write_much(7)})
by_hand = _graph(Numbers, by_hand=write_by_hand)
broken = _graph(Numbers, broken=fail)
unasked = _graph(MessagesState, unasked=call_weather)
with_agent = _graph(
    MessagesState, research=create_agent(chat_model("openai:gpt-4o-mini"), name="researcher")
)
tagged_agent = build_agent(chat_model("openai:gpt-4o-mini", tags=["talk"]))
