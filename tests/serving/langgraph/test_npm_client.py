"""LangGraph's npm client and React's ``useStream`` under Node, unmodified."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import npm_packages
from tests.serving.node_scripts import run_script
from tokenweir.testing import Provider, Reply

pytestmark = pytest.mark.one_python


@pytest.fixture(scope="module")
def folder() -> Path:
    """A folder with the clients' packages and our scripts; skips where there cannot be one."""
    return npm_packages.with_scripts()


def run(script: Path, url: str, provider: Provider, *words: str) -> Any:
    """What a script printed last; the model goes on when it says so."""
    return run_script(script, url, *words, does={"go on": provider.release})


def test_the_npm_client(serve: Callable[..., Any], provider: Provider, folder: Path) -> None:
    """Streams, resumes, asks and answers, cancels, reads state and history, deletes."""
    provider.on("first stall", Reply("a b", stall_after=1))
    provider.on("first", "one two")
    provider.on("second", "three")
    server = serve("sample:two_steps", "sample:asks", "stalls=sample:two_steps")
    seen = run(folder / "client.mjs", server.url, provider)
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


def test_use_stream(serve: Callable[..., Any], provider: Provider, folder: Path) -> None:
    """React's hook: tokens one by one, reload, interrupt and answer, stop, error."""
    provider.on("count", Reply("one two three four", hold_after=2))
    provider.on("again", Reply("three four five", hold_after=2))
    provider.on("never", Reply("la la", stall_after=1))
    server = serve("talk=sample:talk", "sample:asks", "sample:fails")
    seen = run(folder / "use_stream.mjs", server.url, provider)
    assert "one two" in seen["texts"]
    for shorter, longer in zip(seen["texts"], seen["texts"][1:], strict=False):
        assert longer.startswith(shorter)
    assert seen["values"] == ["count", "one two three four"]
    assert seen["joined"] == ["again", "three four five"]
    assert seen["left"] == []
    assert seen["question"] == {"question": "about cats?"}
    assert seen["answer"] == "yes"
    assert seen["kept"] == "la"
    assert seen["stopped"] == "interrupted"
    assert seen["error"] == ["ValueError", "boom", True]
    stalled = next(request for request in provider.requests if request.prompt == "never ending")
    stalled.wait_closed(60)
