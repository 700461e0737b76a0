"""Finding graphs: by ready name, module, file and langgraph.json; and what is said when not."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph.state import CompiledStateGraph

from tokenweir.errors import GraphLoadError
from tokenweir.graphs.loader import configured_graphs, load

SOURCE = """
from langgraph.graph import START, MessagesState, StateGraph

def talk(state):
    return {"messages": [("ai", "hello")]}

builder = StateGraph(MessagesState).add_node(talk).add_edge(START, "talk")
graph = builder.compile(name="mine")

def factory():
    return builder

async def later(config):
    return builder.compile(name=str(sorted(config)))

def greedy(one, two): ...

number = 7
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An own working folder with a file of graphs in it, and the process as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    (tmp_path / "my_graphs.py").write_text(SOURCE)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    "spec",
    [
        "my_graphs.py:graph",
        "./my_graphs.py:graph",
        "my_graphs:graph",
        "my_graphs:builder",
        "my_graphs.py:factory",
        "my_graphs.py:later",
    ],
)
def test_a_place_is_loaded(spec: str) -> None:
    """A compiled graph, a builder and factories are found in files and modules, and run."""
    result = load(spec).invoke({"messages": []})
    assert result["messages"][-1].content == "hello"


def test_a_factory_gets_a_config() -> None:
    """A factory that takes an argument is given a config, as LangGraph's server does."""
    assert load("my_graphs.py:later").name == "['configurable']"


def test_an_absolute_path_and_a_neighbour(folder: Path) -> None:
    """A file may import what stands beside it, wherever the process runs."""
    other = folder / "app"
    other.mkdir()
    (other / "parts.py").write_text(SOURCE)
    (other / "agent.py").write_text("from parts import graph as only_one")
    assert load(f"{other}/agent.py").name == "mine"


def test_a_loaded_file_is_the_same_module(folder: Path) -> None:
    """Loading one file twice gives one graph, so its checkpoints stay."""
    assert load("my_graphs.py:graph") is load("my_graphs.py:graph")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("joke_poen", r"no graph 'joke_poen' \(did you mean joke_poem\?\).*agent, chat, joke_poem"),
        ("", r"there is no graph ''"),
        ("my_graphs.py:grap", r"no 'grap'; graphs there: builder, graph"),
        ("my_graphs.py", r"say which graph of my_graphs.py.*it has: builder, graph"),
        ("my_graphs.py:number", r"my_graphs.py:number is no graph but int"),
        ("my_graphs.py:greedy", r"greedy takes one, two: a factory takes nothing, or a config"),
        ("elsewhere.py:graph", r"no file elsewhere.py; beside it: my_graphs.py"),
        ("nowhere.at_all:graph", r"no module 'nowhere'"),
        ("json:dumps", r"json:dumps"),  # what a function that is no factory raises
    ],
)
def test_what_is_not_there(spec: str, said: str) -> None:
    """Each wrong place has an error that says what is there instead."""
    with pytest.raises((GraphLoadError, TypeError), match=said) as raised:
        load(spec)
    assert "\n" not in str(raised.value)


def test_an_error_in_the_file_is_the_users(folder: Path) -> None:
    """What a module itself raises is not covered up, and a second try runs it again."""
    (folder / "broken.py").write_text("import missing_package")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="missing_package"):
            load("broken.py:graph")
    with pytest.raises(ModuleNotFoundError, match="missing_package"):
        load("broken:graph")


def test_langgraph_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of a langgraph.json come first; its env and dependencies are set, the shell's win."""
    monkeypatch.setenv("KEPT", "shell")
    monkeypatch.delenv("GIVEN", raising=False)
    (folder / ".env").write_text("GIVEN=file\nKEPT=file\n")
    (folder / "src").mkdir()
    (folder / "src" / "lib.py").write_text("")
    entry = "import lib, os\nfrom my_graphs import graph\nENV = os.environ.copy()"
    (folder / "src" / "entry.py").write_text(entry)
    graphs = {"chat": "./src/entry.py:graph", "second": {"path": "./my_graphs.py:graph"}}
    config = {"graphs": graphs, "env": ".env", "dependencies": ["./src", ".", "langchain"]}
    (folder / "langgraph.json").write_text(json.dumps(config))
    assert configured_graphs() == {"chat": "./src/entry.py:graph", "second": "./my_graphs.py:graph"}
    assert load("chat").name == "mine"
    environ: Any = sys.modules["entry"].ENV
    assert (environ["GIVEN"], environ["KEPT"]) == ("file", "shell")
    monkeypatch.delenv("GIVEN")
    with pytest.raises(GraphLoadError, match=r"in langgraph.json: chat, second; ready graphs: "):
        load("third")


@pytest.mark.parametrize("config", ["{", "[]", '{"graphs": []}', '{"graphs": {"a": 1}}'])
def test_a_broken_langgraph_json(folder: Path, config: str) -> None:
    """A langgraph.json that cannot be read is said to be broken, even for a ready name."""
    (folder / "langgraph.json").write_text(config)
    with pytest.raises(GraphLoadError, match=r"langgraph\.json"):
        load("chat")


def test_ready_graphs_are_listed_without_being_imported() -> None:
    """Listing reads each one's docstring; nothing that a graph needs is imported for it."""
    code = (
        "import sys; from tokenweir.graphs.loader import ready_graphs; print(ready_graphs());"
        "assert not [name for name in sys.modules if name in ('langchain_openai', 'openai')]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    listed = ast.literal_eval(done.stdout)
    assert listed["joke_poem"].startswith("A joke, then a poem: one node")
    assert len(listed) == 6


def test_a_ready_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ready name gives the module's compiled graph."""
    monkeypatch.setenv("TOKENWEIR_MODEL", "local:smollm2")
    assert isinstance(load("joke_poem"), CompiledStateGraph)
