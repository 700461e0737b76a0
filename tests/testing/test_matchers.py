"""Matchers: two runs of one graph compare equal, and any difference that matters is seen."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Interrupt, interrupt
from pydantic import BaseModel

from tokenweir.nodes.node import node
from tokenweir.testing import by_call, without_run_ids


def test_ids_are_named_by_first_appearance() -> None:
    """The same id has the same name everywhere, and another one another."""
    one, two = str(uuid4()), uuid4().hex
    value = [f"run-{one}", {"id": two, "parent": one}, (two, one)]
    assert without_run_ids(value) == ["run-#0", {"id": "#1", "parent": "#0"}, ("#1", "#0")]


@pytest.mark.parametrize(
    "literal",
    [
        "plain text",
        "call_1",
        "abc123",
        "0" * 31,
        "0" * 33,
        "12345678-1234-1234-1234-12345678901",
        3,
        1.5,
        None,
        True,
        b"bytes",
    ],
)
def test_everything_else_stays_literal(literal: Any) -> None:
    """What only looks a little like an id is left alone."""
    assert without_run_ids([literal]) == [literal]


def test_ids_are_found_wherever_they_are() -> None:
    """In keys, in named tuples, in dataclasses and models, and as UUID objects."""

    class Pair(NamedTuple):
        name: str
        id: Any

    @dataclass
    class Record:
        id: str

    class Model(BaseModel):
        id: str

    def make() -> Any:
        one = uuid4()
        return [
            {f"node:{one}": 1},
            Pair("a", one),
            Record(str(one)),
            Model(id=str(one)),
            Interrupt(value={"id": str(one)}, id=one.hex),
        ]

    first, second = without_run_ids(make()), without_run_ids(make())
    assert first == second
    assert first[:2] == [{"node:#0": 1}, ("a", "#0")]
    assert make() != make()


def test_another_order_of_ids_is_another_value() -> None:
    """Which id stands where is not forgotten."""
    one, two = str(uuid4()), str(uuid4())
    assert without_run_ids([one, two, one]) != without_run_ids([one, two, two])


def test_names_can_be_shared_between_values() -> None:
    """With one ``names``, values of one run are compared part by part."""
    names: dict[str, str] = {}
    one = str(uuid4())
    assert without_run_ids(one, names) == without_run_ids([one], names)[0] == "#0"
    assert names == {one: "#0"}


def test_the_value_is_not_changed() -> None:
    """A copy is made."""
    message = AIMessage("a", id=str(uuid4()))
    value = {"messages": [message]}
    kept = message.model_copy(deep=True)
    without_run_ids(value)
    assert value == {"messages": [kept]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (AIMessage("a"), AIMessage("b")),
        (AIMessage("a"), AIMessageChunk(content="a")),
        (AIMessage("a"), HumanMessage("a")),
        (AIMessage("a"), AIMessage("a", additional_kwargs={"x": 1})),
        (AIMessage("a"), AIMessage("a", response_metadata={})),
        (AIMessageChunk(content="a"), AIMessageChunk(content="a", chunk_position="last")),
        (AIMessage("a", id="1"), AIMessage("a")),
    ],
)
def test_messages_that_differ_are_told_apart(one: Any, other: Any) -> None:
    """By class, by any field, and by what was set at all."""
    assert without_run_ids(one) != without_run_ids(other)


async def test_two_runs_of_a_graph_are_equal() -> None:
    """Streams, states and interrupts of two runs, whose ids all differ."""

    async def ask(state: MessagesState) -> Any:
        return {"messages": [AIMessage("a", id=str(uuid4()))]}

    @node
    def wait(state: MessagesState) -> Any:
        return {"messages": [interrupt("what?")]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_node("wait", wait)
    graph = builder.add_edge(START, "ask").add_edge("ask", "wait").compile(InMemorySaver())

    async def run() -> Any:
        config: Any = {"configurable": {"thread_id": str(uuid4())}}
        modes: Any = ["messages", "updates", "tasks"]
        parts = [part async for part in graph.astream({"messages": []}, config, stream_mode=modes)]
        state = await graph.aget_state(config)
        return parts, state._replace(created_at=None)

    one, two = await run(), await run()
    assert one != two
    assert without_run_ids(one) == without_run_ids(two)


def test_calls_are_ordered_by_what_they_say() -> None:
    """``by_call`` puts interleaved calls in one order, and keeps the order within each."""
    names = {name: str(uuid4()) for name in "abc"}
    calls = {
        name: [
            (AIMessageChunk(content=f"{name}{part}", id=ident), {"tags": [name]})
            for part in range(4)
        ]
        for name, ident in names.items()
    }

    def interleaved(seed: int) -> list[Any]:
        chance, waiting, mixed = random.Random(seed), [list(c) for c in calls.values()], []
        while waiting:
            call = chance.choice(waiting)
            mixed.append(call.pop(0))
            waiting = [call for call in waiting if call]
        return mixed

    first = by_call(interleaved(1))
    assert first == by_call(interleaved(2)) == by_call(interleaved(3))
    assert len(first) == 3
    assert [len(call) for call in first] == [4, 4, 4]
    swapped = interleaved(1)
    at = [number for number, (chunk, _) in enumerate(swapped) if chunk.id == names["a"]]
    swapped[at[0]], swapped[at[1]] = swapped[at[1]], swapped[at[0]]
    assert by_call(swapped) != first


def test_an_uuid_object_has_the_name_of_its_text() -> None:
    """LangChain hands out run ids as objects, and writes them as text."""
    one = UUID(int=7)
    assert without_run_ids([one, str(one)]) == ["#0", "#0"]
