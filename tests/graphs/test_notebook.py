"""Graphs in notebooks: the picture that a compiled graph has there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from langgraph.graph import START, MessagesState, StateGraph

from tokenweir.graphs.joke_poem_parallel import build
from tokenweir.models.chat import chat_model


@pytest.fixture
def formatted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What a notebook shows of a value at the end of a cell, once the extension is loaded."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # its history stays out of the home folder
    shell: Any = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "tokenweir")
    yield lambda value: shell.display_formatter.format(value)[0]
    InteractiveShell.clear_instance()


def test_a_compiled_graph_draws_itself(formatted: Any) -> None:
    """A graph is an SVG picture with its nodes, and text for what shows no pictures."""
    shown = formatted(build(chat_model("openai:gpt-4o-mini", api_key="test")))
    assert set(shown) == {"image/svg+xml", "text/plain"}
    assert "<svg" in shown["image/svg+xml"]
    assert "joke" in shown["text/plain"]


def test_other_values_are_left_alone(formatted: Any) -> None:
    """A graph that is not compiled, and anything else, is shown as before."""
    builder = StateGraph(MessagesState).add_node("idle", lambda state: {}).add_edge(START, "idle")
    assert set(formatted(builder)) == {"text/plain"}
    assert formatted(3) == {"text/plain": "3"}
