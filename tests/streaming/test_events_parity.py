"""For generated graphs, the v3 run stream tells LangGraph's own events, of every channel."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage
from langgraph.stream import (
    AsyncGraphRunStream,
    CheckpointsTransformer,
    CustomTransformer,
    DebugTransformer,
    TasksTransformer,
    UpdatesTransformer,
)

from tokenweir import astream_events
from tokenweir.testing.matchers import without_run_ids

pytestmark = pytest.mark.filterwarnings("ignore:The v3 streaming protocol:Warning")

GIVEN: Any = {"messages": [("user", "hello")], "note": []}

# Not "astream" and "inner": of a model, or a graph, that a node streams itself, LangGraph's v3
# tells whole messages only, as its documentation says; ours tells their tokens.
KINDS = [
    "ainvoke", "message", "history", "nostream", "retry", "structured", "send", "tools",
    "subgraph", "within", "command", "silent", "thinks", "writes",
]  # fmt: skip
if sys.version_info >= (3, 11):  # interrupt() reads a context variable
    KINDS.append("interrupt")
TIMED = {"tools", "retry", "structured"}
CHANNELS: list[Any] = [
    CheckpointsTransformer,
    CustomTransformer,
    DebugTransformer,
    TasksTransformer,
    UpdatesTransformer,
]

_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.+]+")


async def events_of(started: Awaitable[AsyncGraphRunStream]) -> tuple[list[Any], Any]:
    """The events of a run, and its output or its error."""
    async with await started as run:
        try:
            return [event async for event in run], await run.output()
        except ConnectionError as error:
            return [], repr(error)


def plain(value: Any) -> Any:
    """A value to be compared: of messages what they say, as LangGraph's v3 rewrites them."""
    if isinstance(value, BaseMessage):
        calls = getattr(value, "tool_calls", [])
        return (value.type, str(value.text), [(call["name"], call["args"]) for call in calls])
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items() if name != "timestamp"}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def comparable(found: tuple[list[Any], Any], layers: list[list[str]]) -> Any:
    """Events as values to compare: those of messages in their order, and the rest.

    As for the parts of ``astream``: nodes that end at the same moment are told in the order of a
    set, and nodes that use threads or sleep beside others make the order a matter of timing.
    """
    events, output = found
    told: list[Any] = []
    rest: list[Any] = []
    for event in events:
        about = [event["method"], plain(event["params"])]
        (told if event["method"] == "messages" else rest).append(about)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    others = sorted(_text(without_run_ids(each)) for each in [*rest, plain(output)])
    if any(len(layer) > 1 and TIMED & set(layer) for layer in layers):
        calls: dict[Any, list[Any]] = {}
        for about in told:
            _, metadata = about[1]["data"]
            calls.setdefault(metadata.get("run_id"), []).append(about)
        return sorted(_text(without_run_ids(call)) for call in calls.values()), others
    return _text(without_run_ids(told)), others


def _text(value: Any) -> str:
    return _TIME.sub("then", json.dumps(value, sort_keys=True, default=repr))


@given(
    layers=st.lists(
        st.lists(st.sampled_from(KINDS), min_size=1, max_size=3), min_size=1, max_size=3
    ),
    channels=st.lists(st.sampled_from(CHANNELS), unique=True),
)
@settings(max_examples=30)
def test_any_graph_tells_the_same_events(
    maker: Any, layers: list[list[str]], channels: list[Any]
) -> None:
    """Events and their order, numbers, metadata, and the output are LangGraph's."""

    def config() -> Any:
        return {"configurable": {"thread_id": str(uuid4())}, "tags": ["run"], "metadata": {"a": 1}}

    async def compare() -> None:
        # Two graphs from one description: models that break once must break in both.
        theirs, ours = maker().graph(layers), maker().graph(layers)
        plainly = theirs.astream_events(GIVEN, config(), version="v3", transformers=channels)
        ourselves = astream_events(ours, GIVEN, config(), transformers=channels, retract=False)
        found = comparable(await events_of(ourselves), layers)
        assert found == comparable(await events_of(plainly), layers)

    asyncio.run(compare())
