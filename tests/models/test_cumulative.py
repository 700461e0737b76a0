"""Cumulative and incremental events give the same deltas, whatever their boundaries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenweir.errors import ProviderError
from tokenweir.models.dashscope.cumulative import Delta, Deltas, ToolDelta

Answer = dict[str, Any]

texts = st.text(max_size=40)
calls = st.lists(st.tuples(st.text(min_size=1, max_size=8), texts), max_size=3)


def whole(reasoning: str, text: str, tools: list[tuple[str, str]]) -> Answer:
    """An answer as its steps: reasoning, then text, then each tool call's arguments."""
    return {"reasoning": reasoning, "text": text, "tools": tools}


def steps(answer: Answer, cuts: list[int]) -> list[tuple[int, int, list[int]]]:
    """How far reasoning, text and each call's arguments have come, after each cut."""
    lengths = [len(answer["reasoning"]), len(answer["text"])]
    lengths += [len(arguments) for _, arguments in answer["tools"]]
    total = sum(lengths)
    found = []
    for cut in sorted({min(cut, total) for cut in cuts} | {total}):
        left, reached = cut, []
        for length in lengths:
            reached.append(min(left, length))
            left -= reached[-1]
        found.append((reached[0], reached[1], reached[2:]))
    return found


def message(content: str, reasoning: str, tools: list[Answer]) -> Answer:
    made: Answer = {"role": "assistant", "content": content}
    if reasoning:
        made["reasoning_content"] = reasoning
    if tools:
        made["tool_calls"] = tools
    return made


def event(made: Answer, last: bool) -> Answer:
    reason = "stop" if last else "null"
    return {"text": None, "choices": [{"message": made, "finish_reason": reason}]}


def call(index: int, name: str, arguments: str, id: str) -> Answer:
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": id, "type": "function", "function": function}


def cumulative(answer: Answer, cuts: list[int]) -> list[Answer]:
    events = []
    places = steps(answer, cuts)
    for number, (thought, said, reached) in enumerate(places):
        tools = [
            call(index, name, arguments[:upto], f"call_{index}")
            for index, ((name, arguments), upto) in enumerate(
                zip(answer["tools"], reached, strict=True)
            )
        ]
        made = message(answer["text"][:said], answer["reasoning"][:thought], tools)
        events.append(event(made, number == len(places) - 1))
    return events


def incremental(answer: Answer, cuts: list[int]) -> list[Answer]:
    events = []
    thought = said = 0
    reached = [0] * len(answer["tools"])
    places = steps(answer, cuts)
    for number, (thinks, says, reaches) in enumerate(places):
        tools = []
        for index, (name, arguments) in enumerate(answer["tools"]):
            part = arguments[reached[index] : reaches[index]]
            if number == 0:
                tools.append(call(index, name, part, f"call_{index}"))
            elif part:
                tools.append(call(index, "", part, ""))
        made = message(answer["text"][said:says], answer["reasoning"][thought:thinks], tools)
        events.append(event(made, number == len(places) - 1))
        thought, said, reached = thinks, says, reaches
    return events


def fed(events: list[Answer], *, incremental: bool) -> list[Delta]:
    deltas = Deltas(incremental)
    return [delta for made in events if (delta := deltas.feed(made))]


def added(deltas: list[Delta]) -> tuple[str, str, dict[int, list[str]], list[str]]:
    tools: dict[int, list[str]] = {}
    for delta in deltas:
        for tool in delta.tools:
            parts = tools.setdefault(tool.index, ["", "", ""])
            parts[0] += tool.id or ""
            parts[1] += tool.name or ""
            parts[2] += tool.arguments
    reasons = [delta.finish_reason for delta in deltas if delta.finish_reason]
    text = "".join(delta.text for delta in deltas)
    return text, "".join(delta.reasoning for delta in deltas), tools, reasons


@given(texts, texts, calls, st.lists(st.integers(0, 200), max_size=12))
def test_both_forms_give_the_same_deltas(
    reasoning: str, text: str, tools: list[tuple[str, str]], cuts: list[int]
) -> None:
    """With the same boundaries, each event of either form holds the same delta."""
    answer = whole(reasoning, text, tools)
    one = fed(cumulative(answer, cuts), incremental=False)
    other = fed(incremental(answer, cuts), incremental=True)
    assert one == other


@given(
    texts,
    texts,
    calls,
    st.lists(st.integers(0, 200), max_size=12),
    st.lists(st.integers(0, 200), max_size=12),
)
def test_boundaries_change_nothing(
    reasoning: str, text: str, tools: list[tuple[str, str]], cuts: list[int], others: list[int]
) -> None:
    """Wherever the events are cut, the deltas add up to the answer."""
    answer = whole(reasoning, text, tools)
    expected = (
        text,
        reasoning,
        {index: [f"call_{index}", name, args] for index, (name, args) in enumerate(tools)},
        ["stop"],
    )
    assert added(fed(cumulative(answer, cuts), incremental=False)) == expected
    assert added(fed(incremental(answer, others), incremental=True)) == expected


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        (message("Hello", "", []), message("Help", "", []), "text"),
        (message("Hello", "", []), message("Hell", "", []), "text"),
        (message("", "Hm, so", []), message("", "Well", []), "reasoning"),
        (
            message("", "", [call(0, "f", '{"a"', "1")]),
            message("", "", [call(0, "f", '{"b": 1}', "1")]),
            "arguments of tool call 0",
        ),
        (
            message("", "", [call(0, "f", "", "1")]),
            message("", "", [call(0, "g", "", "1")]),
            "name of tool call 0",
        ),
    ],
)
def test_what_is_no_continuation_is_an_error(first: Answer, second: Answer, what: str) -> None:
    """An event that takes back what was said is refused, and the error says what to do."""
    deltas = Deltas(incremental=False)
    deltas.feed(event(first, False))
    with pytest.raises(ProviderError, match=f"the {what} of an event does not") as caught:
        deltas.feed(event(second, False))
    assert "use incremental_output=True" in str(caught.value)


def test_an_event_that_says_nothing_of_the_reasoning() -> None:
    """Once the answer has begun, events may leave the reasoning out: that takes nothing back."""
    deltas = Deltas(incremental=False)
    assert deltas.feed(event(message("", "Hm", []), False)) == Delta(reasoning="Hm")
    assert deltas.feed(event(message("Yes", "", []), False)) == Delta(text="Yes")
    assert not deltas.feed(event(message("Yes", "Hm", []), False))
    assert deltas.feed(event(message("Yes.", "", []), True)) == Delta(
        text=".", finish_reason="stop"
    )


def test_the_older_result_format() -> None:
    """``output.text``, without choices, is read as well."""
    deltas = Deltas(incremental=False)
    assert deltas.feed({"text": "He", "finish_reason": "null"}) == Delta(text="He")
    assert deltas.feed({"text": "Hello", "finish_reason": "stop"}) == Delta(
        text="llo", finish_reason="stop"
    )


def test_calls_without_an_index_go_by_their_place() -> None:
    """Some models leave ``index`` out."""
    made = call(0, "f", "{}", "1")
    del made["index"]
    delta = Deltas(incremental=True).feed(event(message("", "", [made]), True))
    assert delta.tools == (ToolDelta(0, "1", "f", "{}"),)
