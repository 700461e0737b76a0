"""What the page measures, in a real JavaScript engine (Node), which is given the times."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import tokenweir.serving

NODE = shutil.which("node")
MODULE = Path(tokenweir.serving.__file__).parent / "page" / "meter.js"

pytestmark = [
    pytest.mark.one_python,
    pytest.mark.skipif(NODE is None, reason="Node is not installed"),
]


def waits(written: list[tuple[str, str, int]], asked: list[tuple[str, str]]) -> Any:
    """How long calls took to their first tokens, of a task "node" that begins at 100."""
    script = (
        f"import {{ Calls }} from {json.dumps(MODULE.as_uri())};\n"
        "const calls = new Calls(); calls.began('node', 100);\n"
        f"for (const each of {json.dumps(written)}) calls.wrote(...each);\n"
        f"const found = {json.dumps(asked)}.map((each) => calls.wait(...each));\n"
        "console.log(JSON.stringify(found));"
    )
    assert NODE is not None
    done = subprocess.run(
        [NODE, "--input-type=module", "-e", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_call_starts_with_its_node_or_after_the_one_before() -> None:
    """The first is timed from the node's start, the next from where the one before it ended."""
    written = [("node", "joke", 130), ("node", "joke", 200), ("node", "poem", 210)]
    assert waits(written, [("node", "joke"), ("node", "poem")]) == [30, 10]


def test_calls_that_are_made_at_once_start_with_their_node() -> None:
    """One that goes on to write after the other's first token was not before it."""
    written = [("node", "joke", 130), ("node", "poem", 150), ("node", "joke", 160)]
    assert waits(written, [("node", "joke"), ("node", "poem")]) == [30, 50]


def test_where_a_node_began_unseen_nothing_is_told() -> None:
    """A page that comes later does not know when the node began."""
    assert waits([("other", "joke", 130)], [("other", "joke"), ("node", "poem")]) == [None, None]
