"""The notebooks: executed from a clean kernel, and their outputs looked at for shape, not wording.

What is kept in the files is held to the same shapes, so that no notebook is kept without outputs.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"

TOKENS = r"([^|]+\|){2,}\s*"
"""Tokens as the notebooks print them, each followed by a bar."""

REPORT = r".*\n +calls +tokens +first token .+"
PICTURE = r".*┌─+┐.*"
PLOT = r"<Figure size .+>"
NUMBERS = "one two three four five six "
STREAMED = r"streamed: True\n"

SHAPES: dict[str, dict[str, str]] = {
    "01_stream_tokens": {
        "picture": PICTURE,
        "astream": TOKENS,
        "metadata": r"chunk.id = 'lc_run-.*'langgraph_node': 'call_model',.*'tags': \['poem'\]}\n",
        "show": rf"joke\n.+\n\npoem\n{REPORT}",
        "collect": r"\['joke'\] \w+ {'input_tokens'.+\['poem'\] \w+ {'input_tokens'.+",
    },
    "02_filter_by_tag": {
        "graph": PICTURE,
        "mixed": TOKENS,
        "only": TOKENS,
        "algebra": r"tag:joke +joke *\n~tag:joke +poem\n.+ joke poem\n.+ joke *\n.+editor *\n",
        "as-text": TOKENS,
        "lanes": r"['\"].+['\"]\n['\"].+['\"]\n",
        "meter": r" +calls +tokens .+\nall +2 .+\n",
        "plot": PLOT,
    },
    "03_without_langchain": {
        "client": r"'SmolLM2.+'",
        "custom": TOKENS,
        "show": rf"joke\n.+\n\npoem\n{REPORT}",
        "by-hand": r"({'content': .+}\n)+",
        "dashscope": r"Cats\| sleep\|.+\n/api/v1/services/.+\n",
    },
    "04_python_310_config": {
        "setup": r"Python 3\.\d+\..+\n",
        "lost": r"streamed: (False\nMissingConfigWarning: .+@tokenweir.node.+|True)\n",
        "why": r"True|False",
        "explicit": STREAMED,
        "node": STREAMED,
        "deep": STREAMED,
    },
    "05_agents_and_subgraphs": {
        "agent": PICTURE,
        "tools": rf"call_model\n.+\n\ntools\n{REPORT}",
        "kinds": r"call_model calls: \w+ .*\ntools gives: .+\n",
        "reasoning": rf"thinker\n21 cats, 4 legs each.\nThey have 84 legs.\n{REPORT}",
        "divide": r"21\| cats\|,\| 4\| legs\| each\|\.\|\nThey\| have\| 84\| legs\.\|\n",
        "subgraph": PICTURE,
        "namespaces": r"\(\) write\neditor entitle\n",
        "in-namespace": rf"title\n{REPORT}",
        "interrupt": r"it asks: Which title\?\ntokens came before: True\n",
        "resume": r"updates {'approve': {'title': 'The Lamp'}}\n",
    },
    "06_serve_and_resume": {
        "serve": r"http://127\.0\.0\.1:\d+\n",
        "cut": r"([^|]+\|){8}\nlast event: [-0-9a-f]{36}:\d+\n",
        "resume": TOKENS,
        "again": r"True\n",
        "late": rf"the same text: True\n{PLOT}",
        "remote": rf"joke\n.+\n\npoem\n{REPORT}",
        "stop": r"exit code 0\n",
    },
    "07_what_a_reader_has_seen": {
        "retraction": rf"\['one two three ', '{NUMBERS}'\]\n\['{NUMBERS}'\]\n{PLOT}",
        "stop": r"\|one \|two \|three \|\n.+\nai 'one two three ' True\n.+\nai 'Seven.' \n",
        "guard": rf"\[.+ key is sk-abcdef1234\.'\]\n\[.+ key is \[key\]'\]\n{PLOT}",
        "objects": rf"setup='Why .+' punchline='It .+' tags=\['cat', 'nap'\]\n{PLOT}",
    },
}
"""What each cell that prints or shows something must look like, whole."""

NAMES = sorted(SHAPES)


def read(name: str) -> Any:
    """A notebook as it is kept."""
    read: Any = nbformat.read
    return read(FOLDER / f"{name}.ipynb", as_version=4)


def check(book: Any, shapes: dict[str, str]) -> None:
    """Each cell has the output that it should, and no other cell has any."""
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        assert [o for o in cell.outputs if o.get("name") == "stderr"] == [], cell.id
        text = "".join(
            output.text if output.output_type == "stream" else output.data["text/plain"]
            for output in cell.outputs
        )
        shape = shapes.get(cell.id, "")
        assert re.fullmatch(shape, text, re.DOTALL), f"{cell.id}: {text!r} is not {shape!r}"
        pictures = [o.data for o in cell.outputs if o.output_type != "stream"]
        if shape == PICTURE:
            assert "<svg" in pictures[0]["image/svg+xml"], cell.id
        elif shape.endswith(PLOT):
            assert "image/png" in pictures[0], cell.id
        elif shape.endswith(REPORT):
            assert "<div" in pictures[0]["text/html"], cell.id


def test_every_notebook_is_tested() -> None:
    """No notebook is without shapes, and none has shapes of cells that it lacks."""
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES
    for name, shapes in SHAPES.items():
        assert set(shapes) <= {cell.id for cell in read(name).cells}


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_kept(name: str) -> None:
    """What is kept in the file is what a run gives."""
    check(read(name), SHAPES[name])


@pytest.mark.local
@pytest.mark.docs
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name: str) -> None:
    """From a clean kernel every cell runs, and gives what it should."""
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    execute = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(execute)
    check(execute.execute(FOLDER / f"{name}.ipynb"), SHAPES[name])
