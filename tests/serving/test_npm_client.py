"""LangGraph's npm client under Node, unmodified. Needs ``npm install`` in ``tests/serving/npm``."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokenweir.testing import Provider, Reply

FOLDER = Path(__file__).parent / "npm"


@pytest.mark.skipif(
    shutil.which("node") is None or not (FOLDER / "node_modules").is_dir(),
    reason="needs Node, and npm install in tests/serving/npm",
)
def test_the_npm_client(serve: Callable[..., Any], provider: Provider) -> None:
    """Streams, resumes, asks and answers, cancels, reads state and history, deletes."""
    provider.on("first stall", Reply("a b", stall_after=1))
    provider.on("first", "one two")
    provider.on("second", "three")
    server = serve("sample:two_steps", "sample:asks", "stalls=sample:two_steps")
    ended = subprocess.run(
        ["node", str(FOLDER / "client.mjs"), server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    assert seen["last"].pop("id", None) is not None
    assert seen == {
        "texts": ["one two", "three"],
        "first": "metadata",
        "last": {
            "event": "values",
            "data": {"topic": "x", "first": "one two", "second": "three"},
        },
        "runCreated": True,
        "sameAgain": True,
        "question": {"question": "about y?"},
        "answer": "yes",
        "history": True,
        "cancelled": "interrupted",
        "assistants": ["two_steps", "asks", "stalls"],
        "gone": 404,
    }
