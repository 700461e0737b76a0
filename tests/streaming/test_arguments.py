"""Wrong arguments of ``astream`` and ``stream`` raise at the call, and say what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel import Pregel
from langgraph.pregel.remote import RemoteGraph

from tokenweir.streaming.stream import astream, stream
from tokenweir.types import RunOptions

BUILDER = StateGraph(MessagesState).add_node("say", lambda state: {}).add_edge(START, "say")
GRAPH: Any = BUILDER.compile()
REMOTE: Any = RemoteGraph("say", url="http://127.0.0.1:1")
INPUT: Any = {"messages": []}

MISTAKES: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (42, {}, TypeError, r"takes a compiled graph, or an object with its a?stream\(\); not 42"),
    (BUILDER, {}, TypeError, r"compile it first: graph\.compile\(\)"),
    (GRAPH, {"bufer": 3}, TypeError, r"'bufer' \(did you mean buffer\?\)\. It takes buffer, "),
    (GRAPH, {"subgraph": True}, TypeError, r"did you mean subgraphs\?"),
    (GRAPH, {"headers": {}}, TypeError, "unexpected keyword argument 'headers'"),
    (REMOTE, {"bufer": 3}, TypeError, r"did you mean buffer\?"),
    (GRAPH, {"version": "v9"}, ValueError, "version is one of 'v1', 'v2'; not 'v9'"),
    (GRAPH, {"stream_mode": "mesages"}, ValueError, r"'mesages' \(did you mean messages\?\)"),
    (GRAPH, {"stream_mode": ["messages", "update"]}, ValueError, r"did you mean updates\?"),
    (GRAPH, {"stream_mode": 3}, ValueError, "stream_mode is one of 'values', .*; not 3"),
    (GRAPH, {"durability": "asynch"}, ValueError, "'sync', 'async', 'exit'; not 'asynch'"),
    (GRAPH, {"buffer": -1}, ValueError, "buffer is a number of chunks, 0 or more; not -1"),
    (GRAPH, {"only": 3}, ValueError, "only= takes a filter"),
]


@pytest.mark.parametrize("function", [astream, stream])
@pytest.mark.parametrize(("graph", "wrong", "error", "said"), MISTAKES)
def test_mistakes_raise_at_the_call(
    function: Callable[..., Any],
    graph: Any,
    wrong: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    """Nothing is read or awaited; the error names what is allowed, and what was probably meant."""
    with pytest.raises(error, match=said):
        function(graph, INPUT, **wrong)


@pytest.mark.parametrize("function", [astream, stream])
def test_what_the_graph_takes_is_passed_on(function: Callable[..., Any]) -> None:
    """LangGraph's own keywords are accepted, and a remote graph's request options as well."""
    function(GRAPH, INPUT, interrupt_before="*", durability="exit", print_mode=(), debug=False)
    function(GRAPH, INPUT, stream_mode=None, checkpoint_during=False)
    function(GRAPH, INPUT, stream_mode=[], output_keys="messages", context=None, control=None)
    function(REMOTE, INPUT, headers={"x-key": "1"}, params={"a": "b"}, multitask_strategy="reject")


@pytest.mark.parametrize("method", [Pregel.astream, Pregel.stream])
def test_every_option_of_langgraph_has_a_type(method: Callable[..., Any]) -> None:
    """What LangGraph's methods take by keyword is named by ours, or in ``RunOptions``."""
    ours = signature(astream).parameters.keys() | RunOptions.__annotations__.keys() | {"context"}
    theirs = signature(method).parameters.keys() - {"self", "kwargs"}
    assert theirs <= ours
    assert ours - theirs == {"graph", "only", "buffer", "retract", "on_stop", "options"}
