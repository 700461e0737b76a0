"""``@ag-ui/langgraph``, which CopilotKit's runtime brings: an agent on LangGraph's API, with stream
mode ``events``, unmodified, under Node against the real server.
"""

from __future__ import annotations

import pytest

from tests.serving.conftest import Shared
from tests.serving.front_ends import Run, stalled
from tokenweir.testing import Reply, ToolCall

pytestmark = pytest.mark.one_python

SCRIPT = "agui_langgraph.mjs"


def test_two_turns(run: Run, shared: Shared) -> None:
    """Tokens come one by one, and a thread keeps the conversation."""
    shared.provider.on("one", "first answer")
    shared.provider.on("two", "second answer")
    assert run(SCRIPT, "turns") == {
        "messages": [
            ["user", "one"],
            ["assistant", "first answer"],
            ["user", "two"],
            ["assistant", "second answer"],
        ],
        "deltas": ["first", " answer"],
        "ends": ["RUN_STARTED", "RUN_FINISHED"],
    }


def test_tools(run: Run, shared: Shared) -> None:
    """A call with its arguments, its result, and the answer."""
    call = ToolCall("calculate", '{"expression": "6*7"}')
    shared.provider.on("how much", Reply("let me see", tool_calls=[call]))
    shared.provider.on("42", "it is 42")
    seen = run(SCRIPT, "tools")
    assert seen["args"].replace(" ", "") == '{"expression":"6*7"}'
    assert seen["result"] == ["call_1", "6*7 = 42"]
    assert sorted(seen["messages"]) == [
        ["assistant", "it is 42"],
        ["assistant", "let me see"],
        ["tool", "6*7 = 42"],
        ["user", "how much"],
    ]


def test_reasoning(run: Run, shared: Shared) -> None:
    """Reasoning is told apart from the answer."""
    shared.provider.on("think", Reply("so it is", reasoning=["hm ", "well"]))
    seen = run(SCRIPT, "reasoning")
    assert seen == {"thoughts": ["hm ", "well"], "deltas": ["so", " it", " is"]}


def test_subgraphs(run: Run, shared: Shared) -> None:
    """Nodes are steps, also those of a subgraph; the state is all of the graph's."""
    shared.provider.on("first cats", "one")
    shared.provider.on("second", "two")
    seen = run(SCRIPT, "nested")
    steps = ["child", "first_step", "second_step", "child", "beside"]
    assert seen == {"steps": steps, "state": {"topic": "cats", "first": "one", "second": "two"}}


def test_an_interrupt_is_answered(run: Run, shared: Shared) -> None:
    """A run that waits tells what for, and the next one answers."""
    shared.provider.on("first cats", "one")
    assert run(SCRIPT, "interrupt") == {
        "question": ["on_interrupt", {"question": "about cats?"}],
        "state": {"topic": "cats", "first": "one", "answer": "yes"},
    }


def test_a_failure(run: Run) -> None:
    """A run that fails says why."""
    assert run(SCRIPT, "fails") == ["boom"]


def test_stop(run: Run, shared: Shared) -> None:
    """``abortRun`` closes the provider's connection."""
    shared.provider.on("stall", Reply("la la la", stall_after=1))

    def closed() -> None:
        stalled(shared.provider, "stall").wait_closed(60)

    assert run(SCRIPT, "stop", closed=closed)[:2] == [["user", "stall"], ["assistant", "la"]]
