"""Chunks of a run's record told as messages by content block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.language_models.chat_model_stream import ChatModelStream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk

from tokenweir.serving.log.events import END, Envelope, Event
from tokenweir.serving.messages import RETRACTED, Messages
from tokenweir.serving.running.encoding import TokenEncoder, encode

METADATA = {"langgraph_node": "write", "tags": ["joke"], "langgraph_checkpoint_ns": "write:t1"}


def events_of(
    messages: Sequence[BaseMessage], metadata: Any = METADATA, kind: str = "messages"
) -> list[Event]:
    """What the recorder writes of them."""
    encoder, found = TokenEncoder(), list[Event]()
    known: set[Envelope] = set()
    for number, message in enumerate(messages, 1):
        body, envelope = encoder.encode(kind, message, metadata)
        if envelope is not None and envelope not in known:
            known.add(envelope)
            envelope.id = number
        found.append(Event(number, kind, body, envelope))
    return found


def told(events: Sequence[Event]) -> list[dict[str, Any]]:
    messages = Messages()
    return [each.data for event in events for each in messages.feed(event)]


def chunk(text: Any = "", **more: Any) -> AIMessageChunk:
    return AIMessageChunk(content=text, id="m1", **more)


def call(**fields: Any) -> Any:
    return tool_call_chunk(**{"name": None, "args": None, "id": None, "index": None, **fields})


SAMPLES = {
    "text": [chunk("a "), chunk("b "), chunk("c"), chunk(chunk_position="last")],
    "reasoning": [
        chunk(additional_kwargs={"reasoning_content": "well "}),
        chunk(additional_kwargs={"reasoning_content": "so"}),
        chunk("yes"),
        chunk(chunk_position="last"),
    ],
    "tool calls": [
        chunk("let me see"),
        chunk(tool_call_chunks=[call(name="add", args="", id="c1", index=0)]),
        chunk(tool_call_chunks=[call(args='{"a":', index=0)]),
        chunk(tool_call_chunks=[call(args=" 1}", index=0)]),
        chunk(tool_call_chunks=[call(name="sub", args='{"b": 2}', id="c2", index=1)]),
        chunk(chunk_position="last"),
    ],
    "blocks": [
        chunk([{"type": "text", "text": "a", "index": 0}]),
        chunk([{"type": "text", "text": "b", "index": 0}]),
        chunk([{"type": "text", "text": "c", "index": 1}]),
        chunk(chunk_position="last"),
    ],
    "usage": [
        chunk("a", response_metadata={"model_provider": "openai", "model_name": "small"}),
        chunk(usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}),
        chunk(response_metadata={"finish_reason": "stop"}, chunk_position="last"),
    ],
}


@pytest.mark.parametrize("chunks", SAMPLES.values(), ids=SAMPLES)
def test_langchain_puts_the_message_together(chunks: list[AIMessageChunk]) -> None:
    """LangChain's own reader of these events gets the message that the chunks add up to."""
    stream = ChatModelStream()
    for data in told(events_of(chunks)):
        stream.dispatch(data)
    whole = chunks[0]
    for more in chunks[1:]:
        whole = whole + more
    assert stream.done
    made = stream.output_message
    assert made is not None
    assert made.text == whole.text
    assert made.tool_calls == whole.tool_calls
    assert made.usage_metadata == whole.usage_metadata
    for block, expected in zip(made.content_blocks, whole.content_blocks, strict=True):
        assert block["type"] == expected["type"]
    assert [b for b in made.content_blocks if b["type"] == "reasoning"] == [
        {**b, "index": 0} for b in whole.content_blocks if b["type"] == "reasoning"
    ]


def test_the_order_of_what_is_told() -> None:
    """A message begins with its tags and node, and every block ends before it does."""
    events = told(events_of(SAMPLES["text"]))
    assert [each["event"] for each in events] == [
        "message-start",
        "content-block-start",
        *["content-block-delta"] * 3,
        "content-block-finish",
        "message-finish",
    ]
    assert events[0] == {"event": "message-start", "role": "ai", "id": "m1", "metadata": METADATA}
    assert events[5]["content"] == {"type": "text", "text": "a b c"}


def test_a_token_that_only_adds_text_is_found_by_its_envelope() -> None:
    """From the second token on a text needs no decoding to know where it belongs."""
    messages, events = Messages(), events_of(SAMPLES["text"])
    assert messages.text(events[0]) is None
    messages.feed(events[0])
    found = messages.text(events[1])
    assert found is not None
    message, block = found
    block.pieces.append(events[1].body)
    assert (message.id, block.whole["text"]) == ("m1", "a b ")


def test_a_whole_message_begins_and_ends_at_once() -> None:
    """What a node returns without streaming it is told like an answer, with its tool calls."""
    answer = AIMessage(
        "three",
        id="m1",
        tool_calls=[
            {"name": "add", "args": {"a": 1}, "id": "c1"},
            {"name": "add", "args": {"a": 2}, "id": "c2"},
        ],
    )
    stream = ChatModelStream()
    for data in told(events_of([answer])):
        stream.dispatch(data)
    made = stream.output_message
    assert made is not None
    assert (made.text, made.tool_calls) == ("three", answer.tool_calls)


def test_what_is_no_answer_is_not_told() -> None:
    """Tools' results and custom values are not messages of a model."""
    result = ToolMessage("3", tool_call_id="c1", id="t1")
    assert told(events_of([result])) == []
    assert told([Event(1, "custom", encode({"stage": "mid"}))]) == []


def test_tokens_that_a_node_wrote_are_messages() -> None:
    """``write_tokens`` writes chunks in ``custom`` mode."""
    assert told(events_of(SAMPLES["text"], kind="custom")) == told(events_of(SAMPLES["text"]))


def test_a_void_message_ends_with_an_error() -> None:
    """After a kill a node runs anew, and what it had said is taken back."""
    removed = {"type": "remove", "id": "m1", "content": ""}
    events = [*events_of(SAMPLES["text"][:2]), Event(9, "messages", encode([removed, METADATA]))]
    assert told(events)[-1]["code"] == RETRACTED
    again = AIMessageChunk(content="anew", id="m2")
    assert told([*events, *events_of([again])])[-1]["delta"]["text"] == "anew"


@pytest.mark.parametrize("whole", [True, False])
def test_the_blocks_of_a_void_message(*, whole: bool) -> None:
    """They are named, by which each is taken back: also of a message that had ended."""
    removed = {"type": "remove", "id": "m1", "content": ""}
    said = SAMPLES["reasoning"] if whole else SAMPLES["reasoning"][:-1]
    messages = Messages()
    for event in events_of(said):
        messages.feed(event)
    [void] = messages.feed(Event(9, "messages", encode([removed, METADATA])))
    assert [block.index for block in void.message.blocks] == [0, 1]


@pytest.mark.parametrize(
    ("status", "last"),
    [("success", "message-finish"), ("interrupted", "message-finish"), ("error", "error")],
)
def test_no_message_stays_open(status: str, last: str) -> None:
    """A message that was cut off ends with its task, or at the latest with its run."""
    begun = events_of(SAMPLES["text"][:2])
    end = Event(9, END, encode({"status": status}))
    assert told([*begun, end])[-1]["event"] == last
    result = Event(8, "tasks", encode({"id": "t1", "name": "write", "result": {}}))
    assert told([*begun, result])[-1]["event"] == "message-finish"
    assert told([*begun, result]) == told([*begun, result, end])
