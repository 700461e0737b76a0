"""Bodies and parameters of requests: what they are decoded into, and what is told of wrong ones."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.datastructures import QueryParams

from tokenweir.serving.http.bodies import parse, read_parameters
from tokenweir.serving.langgraph.schema.assistants import GraphQuery
from tokenweir.serving.langgraph.schema.runs import RunCreate, StreamQuery
from tokenweir.serving.langgraph.schema.threads import HistoryQuery, ThreadCreate
from tokenweir.serving.openai.schema import ChatRequest
from tokenweir.serving.problems import InvalidError
from tokenweir.serving.sse.schema import EventsAsked, EventsQuery

WRONG: list[tuple[Any, str, str]] = [
    (RunCreate, "[]", "the body must be an object"),
    (RunCreate, "{", "the body is not JSON: Input data was truncated"),
    (RunCreate, "{}", "assistant_id is missing: A graph's name, or an assistant's id."),
    (RunCreate, '{"assistant_id": "a", "config": {"tags": 1}}', "config.tags must be a list of"),
    (RunCreate, '{"assistant_id": "a", "after_seconds": -1}', "after_seconds must be a number"),
    (RunCreate, '{"assistant_id": "a", "webhook": ""}', "this server does not offer webhooks"),
    (RunCreate, '{"assistant_id": "a", "interrupt_after": [1]}', "must be * or a list of strings"),
    (list[RunCreate], "{}", "the body must be a list of objects"),
    (list[RunCreate], '[{"assistant_id": 1}]', "[0].assistant_id must be a string"),
    (ThreadCreate, '{"supersteps": [{"updates": [{"as_node": 1}]}]}', "updates[0].as_node must"),
    (ThreadCreate, '{"supersteps": [{}]}', "supersteps[0].updates is missing"),
    (ChatRequest, '{"model": "a", "messages": [{"role": "a"}]}', "messages[0].role is one of"),
    (EventsAsked, '{"topic": "a"}', "the body has input, command, config, context, only,"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "told"), WRONG)
def test_what_is_wrong_is_told_with_its_place(kind: Any, body: str, told: str) -> None:
    """A wrong body is refused with the path of the field, and with what the field must be."""
    with pytest.raises(InvalidError) as error:
        parse(body, "the body", kind)
    assert told.lower() in str(error.value).lower()


@pytest.mark.parametrize("deep", ['{"a":' * 101 + "1" + "}" * 101, "[" * 101 + "]" * 101])
def test_depth_is_bounded(deep: str) -> None:
    """What is nested a hundred deep is taken, one more is not, wherever in the body it stands."""
    with pytest.raises(InvalidError, match="nested more than 100 deep"):
        parse(deep, "it")
    with pytest.raises(InvalidError, match="nested more than 100 deep"):
        parse(f'{{"assistant_id": "a", "input": {deep}}}', "it", RunCreate)
    assert parse("[" * 100 + "]" * 100, "it")
    assert len(parse(f"[{'[],' * 200}[]]", "it")) == 201


def test_parameters_are_typed() -> None:
    """Query parameters become numbers, flags and lists; empty ones that are no text are missing."""
    asked = read_parameters(QueryParams("limit=&before="), HistoryQuery)
    assert (asked.limit, asked.before) == (10, "")
    assert read_parameters(QueryParams("limit=3"), HistoryQuery).limit == 3
    for text, depth in [("true", True), ("2", 2), ("0", 0), ("false", False)]:
        assert read_parameters(QueryParams(xray=text), GraphQuery).xray is depth
    joined = read_parameters(QueryParams("stream_mode=a&stream_mode=b"), StreamQuery)
    assert joined.stream_mode == ["a", "b"]
    events = read_parameters(QueryParams("only=tag:a&topic=cats&x=1"), EventsQuery)
    assert (events.only, events.input_keys) == ("tag:a", {"topic": "cats", "x": "1"})
    with pytest.raises(InvalidError, match="limit must be a number from 0"):
        read_parameters(QueryParams("limit=-1"), HistoryQuery)
    with pytest.raises(InvalidError, match="cancel_on_disconnect must be true or false"):
        read_parameters(QueryParams("cancel_on_disconnect=perhaps"), StreamQuery)
