"""The event protocol under Node: the npm client's ``threads.stream()``, React's ``useStream``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.langgraph.test_npm_client import folder, run
from tests.serving.node_scripts import run_script
from tokenweir.testing import Provider, Reply, ToolCall

pytestmark = pytest.mark.one_python

__all__ = ["folder"]

SAMPLES = Path(__file__).parents[1] / "sample_graphs.py"
CALL = ToolCall("calculate", '{"expression": "6*7"}')


@pytest.fixture
def url(serve: Callable[..., Any], provider: Provider) -> str:
    """A server whose model is held where the scripts ask for it."""
    provider.on("joke about both", "ha ha")
    provider.on("poem about both", "la la")
    provider.on("second turn", "and more")
    provider.on("count", Reply("one two three four", hold_after=2))
    provider.on("again", Reply("three four five", hold_after=2))
    provider.on("never", Reply("la la", stall_after=1))
    provider.on("compute", Reply(tool_calls=[CALL]), "it is 42")
    names = ("asks", "nested", "fails")
    words = [*(f"sample:{name}" for name in names), "talk=sample:talk", "joke_poem_parallel"]
    return str(serve(*words, f"agent={SAMPLES}:tagged_agent").url)


@pytest.mark.parametrize("transport", ["sse", "websocket"])
def test_threads_stream(url: str, provider: Provider, folder: Path, transport: str) -> None:
    """Messages with their tags, two turns, tools, subgraphs, a question and its answer."""
    seen = run(folder / "thread_stream.mjs", url, provider, transport)
    assert seen.pop("output")["joke"] == "ha ha"
    assert seen == {
        "lanes": {"joke": ["write_joke", "ha ha"], "poem": ["write_poem", "la la"]},
        "texts": ["one two three four", "and more"],
        "tools": [["calculate", {"expression": "6*7"}, True]],
        "subgraphs": ["child"],
        "question": {"question": "about y?"},
        "answer": "yes",
        "state": "yes",
        "tree": "completed",
    }


def test_react(url: str, provider: Provider, folder: Path) -> None:
    """Tokens, two turns, a reload in the middle, a question, a tool, a subgraph, stop, an error."""
    seen = run(folder / "react_stream.mjs", url, provider)
    texts = seen.pop("texts")
    assert "one two" in texts
    assert all("one two three four".startswith(text) for text in texts)
    assert texts == sorted(texts, key=len)
    one = ["count", "one two three four"]
    two = [*one, "second turn", "and more"]
    assert seen == {
        "first": one,
        "second": two,
        "loaded": two,
        "joined": [*two, "again", "three four five"],
        "question": {"question": "about cats?"},
        "answer": "yes",
        "questions": 0,
        "tools": [["calculate", {"expression": "6*7"}, "finished"]],
        "computed": ["human", "ai", "tool", "ai"],
        "subgraphs": [["child", "complete"]],
        "kept": "la",
        "stopped": "interrupted",
        "error": "boom",
    }


def test_react_and_a_killed_server(
    serve: Callable[..., Any], provider: Provider, folder: Path
) -> None:
    """The hook comes back to the server that is started again, and shows what the state has."""
    provider.on("long", Reply("cut off here", hold_after=2), "from the beginning")
    provider.on("next turn", "and more")
    server = serve("talk=sample:talk")
    port = server.url.rpartition(":")[2]

    def kill() -> None:
        server.kill()
        serve("talk=sample:talk", "--port", port)

    seen = run_script(folder / "react_killed.mjs", server.url, does={"kill": kill})
    expected = ["long", "from the beginning"]
    assert seen == {"said": expected, "error": "", "values": expected}
