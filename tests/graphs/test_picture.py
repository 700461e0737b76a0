"""Pictures of graphs: every kind, on graphs with loops, labels, subgraphs and long ways round."""

from __future__ import annotations

import io
import sys
from typing import Any, Literal, TypedDict
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph

from tokenweir.errors import PictureError
from tokenweir.graphs.picture import draw, in_ascii


class State(TypedDict):
    value: int


def work(state: State) -> State:
    return state


def route(state: State) -> Literal["again", "left", "right", "stop"]:
    return "stop"


def winding() -> Any:
    """A graph with a loop, labelled choices, nested subgraphs, and a way back to the top."""
    inner = StateGraph(State).add_node("deep", work).add_edge(START, "deep").compile()
    middle = StateGraph(State).add_node("first", work).add_node("nested", inner)
    ways: Any = {"again": "a", "left": "b", "right": "c", "stop": END}
    return (
        StateGraph(State)
        .add_node("a", work)
        .add_node("b", middle.add_edge(START, "first").add_edge("first", "nested").compile())
        .add_node("c", work)
        .add_node("join", work)
        .add_edge(START, "a")
        .add_conditional_edges("a", route, ways)
        .add_edge("b", "join")
        .add_edge("c", "join")
        .add_edge("join", "a")
        .compile()
    )


def test_text() -> None:
    """Two nodes side by side, drawn to the character."""
    graph = (
        StateGraph(State)
        .add_node("write_joke", work)
        .add_node("write_poem", work)
        .add_edge(START, "write_joke")
        .add_edge(START, "write_poem")
        .compile()
    )
    assert draw(graph) == (
        "            ┌───────┐\n"
        "            │ start │\n"
        "            └───────┘\n"
        "                ╷\n"
        "       ┌────────┴───────┐\n"
        "       ▼                ▼\n"
        "┌────────────┐   ┌────────────┐\n"
        "│ write_joke │   │ write_poem │\n"
        "└────────────┘   └────────────┘\n"
        "       ╷                ╷\n"
        "       └────────┬───────┘\n"
        "                ▼\n"
        "             ┌─────┐\n"
        "             │ end │\n"
        "             └─────┘\n"
    )


def test_everything_is_in_the_text() -> None:
    """Labels of choices, subgraphs' nodes by their whole names, loops, and the way back up."""
    picture = str(draw(winding()))
    for name in ["a ↺", "b: first", "b: nested: deep", "join", "left", "right", "stop", "▲", "╌"]:
        assert name in picture


def test_ascii() -> None:
    """A terminal without box drawing gets the same picture, cell for cell."""
    picture = str(draw(winding()))
    plain = in_ascii(picture)
    assert plain.isascii()
    assert [len(line) for line in plain.splitlines()] == [len(x) for x in picture.splitlines()]
    assert in_ascii("┌─┐ name ü") == "+-+ name \\xfc"


def test_mermaid() -> None:
    """LangGraph's own mermaid, subgraphs opened."""
    assert "subgraph b" in str(draw(winding(), "mermaid"))


def test_svg() -> None:
    """The SVG is XML, the same each time, and refers to nothing elsewhere."""
    picture = str(draw(winding(), "svg"))
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert draw(winding(), "svg") == picture
    assert "<image" not in picture


def test_only_png_needs_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where matplotlib is not installed SVG is the same, and PNG says what to install."""
    picture = draw(winding(), "svg")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert draw(winding(), "svg") == picture
    with pytest.raises(PictureError, match=r"tokenweir\[draw\]"):
        draw(winding(), "png")


def test_png() -> None:
    """The PNG opens, has a size to read by, and is not blank."""
    image = pytest.importorskip("PIL.Image")
    data = draw(winding(), "png")
    assert isinstance(data, bytes)
    picture = image.open(io.BytesIO(data))
    assert picture.format == "PNG"
    assert min(picture.size) > 300
    assert len(picture.convert("RGB").getcolors(100_000)) > 10


@settings(max_examples=60)
@given(
    st.integers(1, 6).flatmap(
        lambda count: st.tuples(
            st.just(count),
            st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=9),
        )
    )
)
def test_any_graph_can_be_drawn(shape: tuple[int, list[tuple[int, int]]]) -> None:
    """Whatever the edges, the text picture holds each node once, whole."""
    count, edges = shape
    builder = StateGraph(State)
    for number in range(count):
        builder.add_node(f"node_{number}", work)
    builder.add_edge(START, "node_0")
    for source, target in edges:
        builder.add_edge(f"node_{source}", f"node_{target}")
    picture = str(draw(builder.compile()))
    for number in range(count):
        assert picture.count(f"node_{number}") == 1
