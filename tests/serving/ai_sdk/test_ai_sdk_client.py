"""``useChat``'s chat and its transport, unmodified, under Node against the real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import http_client
from tests.serving.conftest import Server, Shared
from tests.serving.front_ends import INTERRUPTS, Run, killing, stalled
from tests.serving.node_scripts import run_script
from tokenweir.testing import Provider, Reply, ToolCall

pytestmark = pytest.mark.one_python

WHOLE = "one two three four"
VERSIONS = ["7", "6"]

both = pytest.mark.parametrize("version", VERSIONS)


@both
def test_two_turns(run: Run, shared: Shared, version: str) -> None:
    """A chat is a thread: the second question is asked with what was said before; usage is told."""
    shared.provider.on("one", Reply("first answer", usage="always"))
    shared.provider.on("two", Reply("second answer", usage="always"))
    seen = run("ai_sdk.mjs", "turns", version)
    assert seen["messages"] == [
        ["user", "one"],
        ["assistant", "first answer"],
        ["user", "two"],
        ["assistant", "second answer"],
    ]
    said = [each["content"] for each in stalled(shared.provider, "two").body["messages"]]
    assert said[-3:] == ["one", "first answer", "two"]
    assert seen["status"] == "ready"
    metadata = seen["metadata"]
    assert [metadata["graph"], metadata["node"], metadata["status"]] == [
        "chat",
        "respond",
        "success",
    ]
    assert metadata["usage"]["output_tokens"] == 2
    about = seen["part"]["providerMetadata"]["tokenweir"]
    assert about["node"] == "respond"
    assert about["usage"]["output_tokens"] == 2


@both
def test_asked_again(run: Run, shared: Shared, version: str) -> None:
    """``regenerate``, and a question that was changed, replace what came behind."""
    shared.provider.on("first", "well")
    shared.provider.on("count", "1 2", "3 4")
    shared.provider.on("edited", "5 6")
    assert run("ai_sdk.mjs", "again", version) == ["first", "well", "edited", "5 6"]
    said = [each["content"] for each in stalled(shared.provider, "edited").body["messages"]]
    assert said[-3:] == ["first", "well", "edited"]


@both
def test_lanes(run: Run, shared: Shared, version: str) -> None:
    """Each tagged call is a part of its own that names its tag; ``only`` lets one pass."""
    shared.provider.on("joke", "ha ha ha")
    shared.provider.on("poem", "roses are red")
    seen = run("ai_sdk.mjs", "lanes", version)
    assert sorted(seen["lanes"]) == [
        [["joke"], "ha ha ha", "done"],
        [["poem"], "roses are red", "done"],
    ]
    assert seen["only"] == "ha ha ha"


@both
def test_tools(run: Run, shared: Shared, version: str) -> None:
    """A tool's call and result are one part, and steps part them from the answer, once."""
    call = ToolCall("calculate", '{"expression": "6*7"}')
    shared.provider.on("how much", Reply("let me see", tool_calls=[call]))
    shared.provider.on("42", "it is 42")
    seen = run("ai_sdk.mjs", "tools", version)
    assert seen["kinds"] == ["step-start", "text", "tool-calculate", "step-start", "text"]
    assert seen["call"]["state"] == "output-available"
    assert seen["call"]["input"] == {"expression": "6*7"}
    assert "42" in str(seen["call"]["output"])
    assert [seen["text"], seen["count"]] == ["let me see|it is 42", 2]


@both
def test_reasoning(run: Run, shared: Shared, version: str) -> None:
    """Reasoning is a part before the text."""
    shared.provider.on("think", Reply("so it is", reasoning=["hm ", "well"]))
    assert run("ai_sdk.mjs", "reasoning", version) == [
        ["step-start", None, None],
        ["reasoning", "hm well", "done"],
        ["text", "so it is", "done"],
    ]


@both
def test_an_interrupt_is_answered(run: Run, shared: Shared, version: str) -> None:
    """An interrupt is a call of the tool ``interrupt``; what the page gives out is its answer."""
    shared.provider.on("first cats", "one")
    seen = run("ai_sdk.mjs", "interrupt", version)
    assert seen["question"]["input"] == {"question": "about cats?"}
    assert seen["question"]["state"] == "approval-requested"
    assert [seen["state"], seen["output"], seen["count"]] == ["output-available", "yes", 2]
    assert seen["end"]["status"] == "success"
    thread = http_client.get(f"{shared.url}/threads/{seen['thread']}/state").json()
    assert thread["values"]["answer"] == "yes"


@INTERRUPTS
@both
def test_tool_calls_are_approved(run: Run, shared: Shared, version: str) -> None:
    """LangChain's middleware asks at the tool's part; yes runs the tool, no tells the model why."""
    call = ToolCall("delete_file", '{"name": "a.txt"}')
    shared.provider.on("a.txt is gone", "deleted")
    shared.provider.on("too late", "kept")
    shared.provider.on("delete", Reply(tool_calls=[call]), Reply(tool_calls=[call]))
    seen = run("ai_sdk.mjs", "approve", version)
    assert seen["true"] == {
        "waiting": "approval-requested",
        "state": "output-available",
        "output": "a.txt is gone",
        "text": "deleted",
        "count": 2,
    }
    assert seen["false"].pop("output").endswith("too late")
    assert seen["false"] == {
        "waiting": "approval-requested",
        "state": "output-error",
        "text": "kept",
        "count": 2,
    }


@both
def test_stop(run: Run, shared: Shared, version: str) -> None:
    """Stop closes the provider's connection; the thread keeps the half answer, and goes on."""
    shared.provider.on("stall", Reply("la la la", stall_after=1))
    shared.provider.on("go on", "there")

    def closed() -> None:
        stalled(shared.provider, "stall").wait_closed(60)

    seen = run("ai_sdk.mjs", "stop", version, closed=closed)
    assert seen == {
        "half": "la",
        "status": "ready",
        "messages": ["stall", "la", "go on", "there"],
    }
    said = [each["content"] for each in stalled(shared.provider, "go on").body["messages"]]
    assert said[-3:] == ["stall", "la", "go on"]


@both
def test_reload_in_the_middle(run: Run, shared: Shared, version: str) -> None:
    """A page that is loaded again gets all of the message, and afterwards 204."""
    shared.provider.on("hold", Reply(WHOLE, hold_after=2))
    seen = run("ai_sdk.mjs", "reload", version, go_on=shared.provider.release)
    assert seen == {
        "half": "one two",
        "whole": ["hold", WHOLE],
        "again": ["hold", WHOLE],
        "status": "ready",
    }


@both
def test_reload_of_an_answered_message(run: Run, shared: Shared, version: str) -> None:
    """A message that goes on after an interrupt is replayed with what came before the answer."""
    shared.provider.on("first cats", "one")
    shared.provider.on("after yes", Reply("two three four", hold_after=2))
    seen = run("ai_sdk.mjs", "reloadAnswered", version, go_on=shared.provider.release)
    assert seen == {
        "text": "one|two three four",
        "count": 2,
        "state": "output-available",
        "output": "yes",
    }


@both
def test_the_server_is_killed(
    serve: Callable[..., Server], provider: Provider, scripts: Path, tmp_path: Path, version: str
) -> None:
    """After kill -9 in the middle and a new start the message is the whole answer, exactly."""
    provider.on("hold", Reply(WHOLE, hold_after=2), "five six seven")
    server, kill = killing(serve, provider, tmp_path / "data", "chat")
    seen = run_script(scripts / "ai_sdk.mjs", server.url, "killed", version, does={"kill": kill})
    assert seen == {
        "broken": "error",
        "status": "ready",
        "messages": ["hold", "five six seven"],
    }


def test_a_message_that_was_begun_anew_is_given_again(
    serve: Callable[..., Server], provider: Provider, tmp_path: Path
) -> None:
    """Version 6 gives up where something is taken back, though the rest was sent: it asks again."""
    provider.on("hold", Reply(WHOLE, hold_after=2), "five six seven")
    server, kill = killing(serve, provider, tmp_path / "data", "chat")
    said = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "hold"}]}
    asked = {"id": "a-chat", "messages": [said]}
    with http_client.stream("POST", f"{server.url}/ai/chat", json=asked) as answer:
        assert any("two" in line for line in answer.iter_lines())
    kill()
    for _ in range(2):
        answer = http_client.get(f"{server.url}/ai/chat/a-chat/stream")
        assert answer.status_code == 200
        assert "seven" in answer.text


@pytest.mark.parametrize("version", VERSIONS)
def test_a_retried_node_says_everything_once(run: Run, shared: Shared, version: str) -> None:
    """What a failed attempt said is gone from the message; in version 6 it is an error."""
    shared.provider.on("retry", Reply(WHOLE, cut_after=3), WHOLE)
    seen = run("ai_sdk.mjs", "retried", version)
    if version == "7":
        assert seen == {"messages": ["retry", WHOLE]}
    else:
        assert "reset-step" in seen["error"]


@both
def test_custom_writes(run: Run, version: str) -> None:
    """What a node writes is a part ``data-custom``."""
    seen = run("ai_sdk.mjs", "custom", version)
    assert [part["data"] for part in seen["seen"]] == [{"stage": "start"}, {"stage": "end"}]
    assert seen["kept"] == [{"stage": "start"}, {"stage": "end"}]


@both
def test_errors(run: Run, version: str) -> None:
    """A run that fails, and a graph that is not there, say what is wrong."""
    seen: Any = run("ai_sdk.mjs", "fails", version)
    assert seen["status"] == "error"
    assert seen["error"] == "ValueError: boom"
    assert "there is no graph 'nothing'" in seen["lost"]
