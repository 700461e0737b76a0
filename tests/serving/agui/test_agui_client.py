"""AG-UI's client, unmodified, under Node against the real server: it checks each event's order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving.conftest import Server, Shared
from tests.serving.front_ends import INTERRUPTS, Run, killing, stalled
from tests.serving.node_scripts import run_script
from tokenweir.testing import Provider, Reply, ToolCall

pytestmark = pytest.mark.one_python

WHOLE = "one two three four"


def test_two_turns(run: Run, shared: Shared) -> None:
    """A thread keeps the conversation, and nothing is said twice; usage and node are told."""
    shared.provider.on("one", Reply("first answer", usage="always"))
    shared.provider.on("two", Reply("second answer", usage="always"))
    seen = run("agui.mjs", "turns")
    assert seen["messages"] == [
        ["user", "one"],
        ["assistant", "first answer"],
        ["user", "two"],
        ["assistant", "second answer"],
    ]
    said = [each["content"] for each in stalled(shared.provider, "two").body["messages"]]
    assert said[-3:] == ["one", "first answer", "two"]
    [usage] = seen["usage"]
    assert [usage["provider"], usage["outputTokens"]] == ["openai", 2]
    assert seen["metadata"]["tokenweir"]["node"] == "respond"


def test_lanes(run: Run, shared: Shared) -> None:
    """Each tagged call is a message that names its tag; nodes are steps; the state is told."""
    shared.provider.on("joke", "ha ha ha")
    shared.provider.on("poem", "roses are red")
    seen = run("agui.mjs", "lanes")
    assert sorted(seen["lanes"]) == [[["joke"], "ha ha ha"], [["poem"], "roses are red"]]
    assert seen["steps"] == ["-write_joke", "-write_poem", "write_joke", "write_poem"]
    assert seen["state"] == {"topic": "cats", "joke": "ha ha ha", "poem": "roses are red"}
    assert seen["only"] == [["assistant", "ha ha ha"]]


def test_tools(run: Run, shared: Shared) -> None:
    """A call is in its message, its result behind it; who connects later gets the same."""
    call = ToolCall("calculate", '{"expression": "6*7"}')
    shared.provider.on("how much", Reply("let me see", tool_calls=[call]))
    shared.provider.on("42", "it is 42")
    seen = run("agui.mjs", "tools")
    user, called, result, answer = seen["messages"]
    assert [user["role"], called["role"], answer["content"]] == ["user", "assistant", "it is 42"]
    assert called["content"] == "let me see"
    [made] = called["toolCalls"]
    assert made["function"]["name"] == "calculate"
    assert result["toolCallId"] == made["id"]
    assert "42" in result["content"]
    assert seen["same"] == [[each["role"], each["content"]] for each in seen["messages"]]


def test_reasoning(run: Run, shared: Shared) -> None:
    """Reasoning is a message of its own, before the answer."""
    shared.provider.on("think", Reply("so it is", reasoning=["hm ", "well"]))
    assert run("agui.mjs", "reasoning") == [
        ["user", "think"],
        ["reasoning", "hm well"],
        ["assistant", "so it is"],
    ]


def test_subgraphs_are_subagents(run: Run, shared: Shared) -> None:
    """A subgraph's nodes and messages are a subagent's, which lasts as long as its node."""
    shared.provider.on("first cats", "one")
    shared.provider.on("second", "two")
    seen = run("agui.mjs", "nested")
    assert seen["order"] == [
        "RUN_STARTED",
        "STEP_STARTED child",
        "SUBAGENT_STARTED  child",
        "STEP_STARTED first_step child",
        "STEP_FINISHED first_step child",
        "STEP_STARTED second_step child",
        "STEP_FINISHED second_step child",
        "SUBAGENT_FINISHED  child",
        "STEP_FINISHED child",
        "STEP_STARTED beside",
        "STEP_FINISHED beside",
        "RUN_FINISHED",
    ]
    assert seen["owners"] == ["child", "child"]


def test_a_node_that_runs_twice_at_once(run: Run, shared: Shared) -> None:
    """Two tasks of one node are one step, and two messages."""
    shared.provider.on("about a", "an a")
    shared.provider.on("about b", "a b")
    assert run("agui.mjs", "fans") == [["assistant", "a b"], ["assistant", "an a"]]


def test_an_interrupt_is_answered(run: Run, shared: Shared) -> None:
    """The run ends with what it waits for, also for who connects later, and ``resume`` answers."""
    shared.provider.on("first cats", "one")
    seen = run("agui.mjs", "interrupt")
    question = seen["question"]
    assert question["reason"] == "langgraph:interrupt"
    assert question["metadata"]["tokenweir"]["value"] == {"question": "about cats?"}
    assert seen["same"] is True
    assert seen["state"]["answer"] == "yes"
    assert seen["left"] == []


@INTERRUPTS
def test_an_approval_is_refused(run: Run, shared: Shared) -> None:
    """LangChain's middleware asks about a tool call; ``cancelled`` refuses it."""
    call = ToolCall("delete_file", '{"name": "a.txt"}')
    shared.provider.on("delete true", Reply(tool_calls=[call]))
    shared.provider.on("rejected", "kept")
    seen = run("agui.mjs", "approve")
    assert seen["call"] == "call_1"
    assert [role for role, _ in seen["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert seen["messages"][-1] == ["assistant", "kept"]
    assert "a.txt is gone" not in str(seen["messages"])


def test_stop(run: Run, shared: Shared) -> None:
    """``abortRun`` closes the provider's connection; the thread keeps the half answer."""
    shared.provider.on("stall", Reply("la la la", stall_after=1))
    shared.provider.on("go on", "there")

    def closed() -> None:
        stalled(shared.provider, "stall").wait_closed(60)

    assert run("agui.mjs", "stop", closed=closed) == [
        ["user", "stall"],
        ["assistant", "la"],
        ["user", "go on"],
        ["assistant", "there"],
    ]


def test_reload_in_the_middle(run: Run, shared: Shared) -> None:
    """Who connects while a run runs gets what it has said, and the rest."""
    shared.provider.on("hold", Reply(WHOLE, hold_after=2))
    seen = run("agui.mjs", "reload", go_on=shared.provider.release)
    assert seen == [["user", "hold"], ["assistant", WHOLE]]


def test_the_server_is_killed(
    serve: Callable[..., Server], provider: Provider, scripts: Path, tmp_path: Path
) -> None:
    """After kill -9 in the middle and a new start the answer is whole, exactly."""
    provider.on("hold", Reply(WHOLE, hold_after=2), "five six seven")
    server, kill = killing(serve, provider, tmp_path / "data", "chat")
    seen = run_script(scripts / "agui.mjs", server.url, "killed", does={"kill": kill})
    assert seen["broken"] is True
    assert seen["messages"] == [["user", "hold"], ["assistant", "five six seven"]]


def test_a_graph_without_messages_has_a_history(run: Run, shared: Shared) -> None:
    """Who connects to a thread of such a graph gets what was asked and said in all of its runs."""
    for kind in ("joke", "poem"):
        shared.provider.on(f"{kind} about cats", f"{kind} 1")
        shared.provider.on(f"{kind} about dogs", f"{kind} 2")
    seen = run("agui.mjs", "history")
    assert seen["messages"] == [
        ["user", "cats"],
        ["assistant", "joke 1"],
        ["assistant", "poem 1"],
        ["user", "dogs"],
        ["assistant", "joke 2"],
        ["assistant", "poem 2"],
    ]
    assert seen["same"]["topic"] == "dogs"
    assert seen["empty"] == []


def test_a_retried_node_says_everything_once(run: Run, shared: Shared) -> None:
    """What a failed attempt said was shown, and is gone from the messages."""
    shared.provider.on("retry", Reply(WHOLE, cut_after=3), WHOLE)
    seen = run("agui.mjs", "retried")
    assert seen == {"messages": [["user", "retry"], ["assistant", WHOLE]], "shown": True}


def test_custom_writes(run: Run) -> None:
    """What a node writes is a custom event."""
    assert run("agui.mjs", "custom") == [{"stage": "start"}, {"stage": "end"}]


def test_errors(run: Run) -> None:
    """A run that fails says why."""
    [told] = run("agui.mjs", "fails")
    assert [told["message"], told["code"]] == ["ValueError: boom", "ValueError"]
