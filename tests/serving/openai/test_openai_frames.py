"""What is written of tokens is the same whether it is made anew for each or not."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tokenweir.serving.log.events import END, Envelope, Event
from tokenweir.serving.openai.answer import Answer
from tokenweir.serving.openai.frames import Frames

encode = msgspec.json.encode

CALLS = st.integers(0, 2)
WHAT = st.one_of(
    st.tuples(st.just("text"), CALLS, st.text(max_size=2)),
    st.tuples(st.sampled_from(["last", "remove", "reasoning", "node"]), CALLS, st.just("x")),
)


def about(call: int) -> dict[str, Any]:
    """A call's metadata."""
    tags = [f"c{call % 2}"]
    return {"tags": tags, "langgraph_node": "n", "langgraph_checkpoint_ns": f"n:t{call}"}


ENVELOPES = [
    Envelope(
        b'[{"id":"m%d","type":"AIMessageChunk","content":' % call, b"},%s]" % encode(about(call))
    )
    for call in range(3)
]


def event(number: int, what: tuple[str, int, str], *, enveloped: bool) -> Event:
    """An event of a run with three calls, as the log gives it."""
    kind, call, text = what
    if kind == "node":
        ended = {"id": f"t{call}", "name": f"n{call}", "result": {}}
        return Event(number, "tasks", encode(ended))
    if kind == "text":
        if enveloped:
            return Event(number, "messages", encode(text), ENVELOPES[call])
        return Event(number, "messages", ENVELOPES[call].around(encode(text)))
    message: dict[str, Any] = {"id": f"m{call}", "type": "AIMessageChunk", "content": ""}
    if kind == "remove":
        message["type"] = "remove"
    elif kind == "last":
        message |= {"chunk_position": "last", "response_metadata": {"finish_reason": "stop"}}
    else:
        message["additional_kwargs"] = {"reasoning_content": text}
    return Event(number, "messages", encode([message, about(call)]))


@given(st.lists(WHAT, max_size=20), st.sampled_from([None, "c0"]))
def test_tokens_that_differ_in_their_text_alone(
    several: list[tuple[str, int, str]], wanted: str | None
) -> None:
    """Of calls that speak at once, end, think and become void, each chunk is the same."""
    written = []
    for enveloped in (False, True):
        frames = Frames(Answer("a", "m", 1), wanted)
        events = [event(n, what, enveloped=enveloped) for n, what in enumerate(several, 1)]
        events.append(Event(len(several) + 1, END, encode({"status": "success"})))
        said = frames.encode(events).split(b"\n\n")
        written.append([msgspec.json.decode(each[6:]) for each in said if each[6:7] == b"{"])
    assert written[0] == written[1]
