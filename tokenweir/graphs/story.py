r"""A story: an outline, its sections written all at once, then a subgraph that edits.

```mermaid
graph TD;
    __start__ --> plan;
    plan -.-> write;
    write --> edit\3afinish;
    edit\3aname --> __end__;
    subgraph edit
    edit\3afinish --> edit\3aname;
    end
```

Its tokens are tagged ``outline``, ``section``, ``edit`` and ``title``. The last two come from the
subgraph: stream with ``subgraphs=True`` to see them, and with ``only=in_namespace("edit")`` to see
nothing else.
"""

from __future__ import annotations

import operator
import re
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Send

from tokenweir.graphs._ready import graph_on_demand, tagged

__all__ = ["Input", "Section", "State", "build", "graph", "headings"]

SECTIONS = 3


class Input(TypedDict):
    """The input of the graph."""

    topic: str


class State(Input):
    """The output of the graph."""

    outline: list[str]
    sections: Annotated[list[tuple[int, str]], operator.add]
    story: str
    title: str


class Section(TypedDict):
    """The input of one run of ``write``."""

    topic: str
    number: int
    heading: str


def build(
    model: BaseChatModel | str | None = None,
) -> CompiledStateGraph[State, None, Input, State]:
    """The compiled graph.

    Args:
        model: A chat model, or a name for ``chat_model``; its default if left out.
    """
    planner, writer = tagged(model, "outline"), tagged(model, "section")

    async def plan(state: State, config: RunnableConfig) -> dict[str, Any]:
        asked = (
            f"List {SECTIONS} things that happen in a children's story about {state['topic']}, "
            "one after the other, each in a few words."
        )
        answer = await planner.ainvoke(asked, config)
        return {"outline": headings(answer.text) or [state["topic"]]}

    def to_sections(state: State) -> list[Send]:
        return [
            Send("write", Section(topic=state["topic"], number=number, heading=heading))
            for number, heading in enumerate(state["outline"], 1)
        ]

    async def write(state: Section, config: RunnableConfig) -> dict[str, Any]:
        asked = (
            f"This is part of a children's story about {state['topic']}: {state['heading']}. "
            "Tell it in three sentences."
        )
        answer = await writer.ainvoke(asked, config)
        return {"sections": [(state["number"], answer.text)]}

    return (
        StateGraph(State, input_schema=Input)
        .add_node("plan", plan)
        .add_node("write", write, input_schema=Section)
        .add_node("edit", _editor(model))
        .add_edge(START, "plan")
        .add_conditional_edges("plan", to_sections, ["write"])
        .add_edge("write", "edit")
        .compile(name="story")
    )


def _editor(
    model: BaseChatModel | str | None,
) -> CompiledStateGraph[State, None, State, State]:
    """The subgraph. It joins the sections, writes an ending and finds a title."""
    editor, namer = tagged(model, "edit"), tagged(model, "title")

    async def finish(state: State, config: RunnableConfig) -> dict[str, Any]:
        text = "\n\n".join(text.strip() for _, text in sorted(state["sections"]))
        asked = f"{text}\n\nWrite one last sentence that ends this story."
        ending = await editor.ainvoke(asked, config)
        return {"story": f"{text}\n\n{ending.text.strip()}"}

    async def name(state: State, config: RunnableConfig) -> dict[str, Any]:
        asked = f"{state['story']}\n\nGive this story a title of at most five words."
        title = await namer.ainvoke(asked, config)
        return {"title": title.text.strip().strip('"')}

    return (
        StateGraph(State)
        .add_node("finish", finish)
        .add_node("name", name)
        .add_edge(START, "finish")
        .add_edge("finish", "name")
        .compile(name="edit")
    )


def headings(text: str) -> list[str]:
    """The first lines that are not empty, without numbers and bullets."""
    lines = [re.sub(r"^[\s\d.)*#-]+", "", line).strip(' *"') for line in text.splitlines()]
    return [line for line in lines if line][:SECTIONS]


graph: CompiledStateGraph[State, None, Input, State]
__getattr__ = graph_on_demand(__name__, build)
