"""The page about a run's life names the files that it goes through."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, TypedDict

from langgraph.graph import START, StateGraph

from tokenweir.serving.running.data_folder import data_folder
from tokenweir.serving.running.records import RunRequest
from tokenweir.serving.running.runs import Runs

ROOT = Path(__file__).parents[1]


class State(TypedDict):
    """One value."""

    answer: str


def named(page: str) -> set[str]:
    """The files that a page names."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return set(re.findall(r"`((?:serving)/[\w/]+\.py)`", text))


def test_the_files_are_there() -> None:
    """Each file that the page names exists, and CONTRIBUTING names none that the page does not."""
    files = named("docs/life-of-a-run.md")
    assert len(files) >= 12
    assert [file for file in files if not (ROOT / "tokenweir" / file).is_file()] == []
    assert named("CONTRIBUTING.md") <= files


async def test_a_run_goes_through_them(tmp_path: Path) -> None:
    """Each step of the page is where the page says: a run that is executed calls its files."""
    graph = StateGraph(State).add_node("answer", lambda _: {"answer": "said"})
    graphs: dict[str, Any] = {"graph": graph.add_edge(START, "answer").compile()}
    called = set[str]()
    async with data_folder(tmp_path, graphs)() as home, Runs(graphs, home) as runs:
        asked = RunRequest(graph="graph", input={"answer": ""}, modes=["values"])
        sys.setprofile(lambda frame, *_: called.add(frame.f_code.co_filename))
        try:
            run = await runs.wait((await runs.start(asked)).id)
        finally:
            sys.setprofile(None)
        assert run.status == "success"
    steps = ("runs", "local_store", "worker", "turns", "execution", "checkpoints", "recorder")
    files = {f"serving/running/{step}.py" for step in steps}
    assert files <= named("docs/life-of-a-run.md")
    assert {f"{ROOT}/tokenweir/{file}" for file in files} <= called
