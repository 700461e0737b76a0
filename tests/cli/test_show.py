"""``tokenweir graphs`` and ``tokenweir show``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
READY = ["agent", "chat", "joke_poem", "joke_poem_custom", "joke_poem_parallel", "story"]


def test_the_ready_graphs(tokenweir: Run) -> None:
    """Each ready graph is listed with a line on it, in columns that cut can take."""
    code, out, err = tokenweir("graphs")
    assert (code, err) == (0, "")
    names, lines = zip(*(line.split(maxsplit=1) for line in out.splitlines()), strict=True)
    assert list(names) == READY
    assert all(len(line) > 20 for line in lines)


def test_the_graphs_as_json(tokenweir: Run) -> None:
    """With --json each is an object with its name, a line on it, and where it is."""
    Path("langgraph.json").write_text(json.dumps({"graphs": {"mine": "./mine.py:graph"}}))
    found = {
        one["name"]: one for one in map(json.loads, tokenweir("graphs", "--json").out.splitlines())
    }
    assert found["mine"]["place"] == "./mine.py:graph"
    assert found["story"]["place"] == "tokenweir.graphs.story:graph"
    assert found["story"]["description"].startswith("A story")


def test_graphs_are_listed_without_langgraph() -> None:
    """Six names need no second: LangGraph is not imported for them."""
    code = (
        "import sys; from tokenweir.cli.main import execute; execute(['graphs']); "
        "sys.exit('langgraph' in sys.modules or 'langchain_core' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_the_graphs_of_a_project(tokenweir: Run) -> None:
    """A langgraph.json adds its graphs, each with its place."""
    Path("langgraph.json").write_text(json.dumps({"graphs": {"mine": "./mine.py:graph"}}))
    assert "./mine.py:graph (langgraph.json)" in tokenweir("graphs").out
    Path("langgraph.json").write_text("{")
    code, out, err = tokenweir("graphs")
    assert (code, out) == (2, "")
    assert "is not JSON" in err


def test_a_picture_in_the_terminal(tokenweir: Run) -> None:
    """Without options the nodes and edges are drawn as text, in an order that can be followed."""
    code, out, err = tokenweir("show", "sample:in_turn")
    assert (code, err) == (0, "")
    places = [out.index(name) for name in ("start", "joking", "rhyming", "end")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("file", "start"),
    [
        ("g.png", b"\x89PNG"),
        ("g.svg", b"<svg"),
        ("g.mmd", b"---\nconfig"),
        ("G.MERMAID", b"---\nconfig"),
        ("g.txt", b" "),
    ],
)
def test_a_picture_in_a_file(tokenweir: Run, file: str, start: bytes) -> None:
    """The file's ending says what is written, and nothing is printed."""
    assert tokenweir("show", "sample:in_turn", "-o", file) == (0, "", "")
    assert Path(file).read_bytes().startswith(start)


def test_the_format_can_be_said(tokenweir: Run) -> None:
    """--format goes over the ending, and to standard output without a file."""
    mermaid = tokenweir("show", "sample:in_turn", "--format", "mermaid").out
    assert "joking --> rhyming" in mermaid
    assert tokenweir("show", "sample:in_turn", "--format", "mermaid", "-o", "-").out == mermaid
    assert tokenweir("show", "sample:in_turn", "--format", "mermaid", "-o", "g.png").code == 0
    assert Path("g.png").read_text() == mermaid


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "there is no graph 'nope'"),
        (["sample:in_turn", "-o", "g.jpeg"], "cannot tell what to write from g.jpeg"),
        (["sample:in_turn", "-o", "nowhere/g.svg"], "cannot write nowhere/g.svg"),
        (["sample:in_turn", "--format", "gif"], "--format"),
    ],
)
def test_a_picture_that_cannot_be(tokenweir: Run, words: list[str], said: str) -> None:
    """Exit 2, and one line that says why."""
    code, out, err = tokenweir("show", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
