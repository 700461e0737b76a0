"""Parts of messages made of chunks, and how both dialects write them: no server, no model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)

from tokenweir.encoders.agui import AgUi
from tokenweir.encoders.ai_sdk import AiSdk
from tokenweir.encoders.parts import Said

METADATA = {"langgraph_node": "write", "tags": ["joke", "seq:step:1"], "ls_model_name": "m"}


def events(written: bytes) -> list[dict[str, Any]]:
    """What was written, decoded."""
    frames = written.decode().split("\n\n")
    assert frames.pop() == ""
    found = [frame.removeprefix("data: ") for frame in frames]
    return [json.loads(frame) for frame in found if frame != "[DONE]"]


def kinds(written: bytes) -> list[str]:
    """The types of what was written."""
    return [event["type"] for event in events(written)]


def chunk(text: str = "", id: str = "m1", **more: Any) -> AIMessageChunk:
    """A chunk of a message."""
    return AIMessageChunk(content=text, id=id, **more)


def thinking(text: str, id: str = "m1") -> AIMessageChunk:
    """A chunk of reasoning."""
    return chunk(id=id, additional_kwargs={"reasoning_content": text})


def test_a_text_begins_goes_on_and_ends() -> None:
    """Each chunk is written when it comes; the last one ends the part, and tells the usage."""
    writer = AiSdk()
    usage: Any = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    assert kinds(writer.parts.feed(chunk("a"), METADATA)) == [
        "start-step",
        "text-start",
        "text-delta",
    ]
    assert events(writer.parts.feed(chunk(" b"), METADATA)) == [
        {"type": "text-delta", "id": "m1", "delta": " b"}
    ]
    assert writer.parts.feed(chunk(usage_metadata=usage), METADATA) == b""
    [ended] = events(writer.parts.feed(chunk(chunk_position="last"), METADATA))
    about = {"message": "m1", "node": "write", "tags": ["joke"], "model": "m", "usage": usage}
    assert ended == {"type": "text-end", "id": "m1", "providerMetadata": {"tokenweir": about}}
    # The same message, whole, when its node returns it.
    assert writer.parts.feed(AIMessage("a b", id="m1"), METADATA) == b""
    finish = events(writer.finish())[-1]
    assert finish["messageMetadata"] == {"usage": usage}


def test_kinds_take_turns() -> None:
    """Reasoning ends where the text begins, and the text where a tool is called."""
    writer = AgUi()
    call: Any = {"index": 0, "id": "c1", "name": "add", "args": '{"a"'}
    rest: Any = {"index": 0, "id": None, "name": None, "args": ": 1}"}
    fed = [thinking("hm"), chunk("well"), chunk(tool_call_chunks=[call])]
    fed += [chunk(tool_call_chunks=[rest]), chunk(chunk_position="last")]
    written = b"".join(writer.parts.feed(each, METADATA) for each in fed)
    assert kinds(written) == [
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
    ]
    assert writer.parts.call("add", {"a": 1}) == "c1"
    result = ToolMessage("2", tool_call_id="c1", id="t1")
    [told] = events(writer.parts.feed(result, METADATA))
    assert [told["messageId"], told["toolCallId"], told["content"]] == ["t1", "c1", "2"]
    assert writer.parts.call("add", {"a": 1}) is None


def test_arguments_that_are_no_json() -> None:
    """A tool call whose arguments cannot be read is an error of its part, not of the stream."""
    writer = AiSdk()
    call: Any = {"index": 0, "id": "c1", "name": "add", "args": '{"a"'}
    writer.parts.feed(chunk(tool_call_chunks=[call]), METADATA)
    [told] = events(writer.parts.feed(chunk(chunk_position="last"), METADATA))
    assert [told["type"], told["input"]] == ["tool-input-error", '{"a"']


def test_messages_that_nobody_streamed() -> None:
    """A whole message of a model is said at once; one of a user is not."""
    writer = AiSdk()
    assert writer.parts.feed(HumanMessage("hi", id="h1"), METADATA) == b""
    call: Any = {"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
    written = writer.parts.feed(AIMessage("so", id="m2", tool_calls=[call]), METADATA)
    assert kinds(written) == [
        "start-step",
        "text-start",
        "text-delta",
        "text-end",
        "tool-input-start",
        "tool-input-delta",
        "tool-input-available",
    ]


def test_tokens_written_by_hand() -> None:
    """Tokens without an id are one message until their step ends, then another one."""
    writer = AiSdk()
    written = b"".join(writer.parts.feed(word, METADATA) for word in ("by ", "hand"))
    written += writer.boundary() + writer.parts.feed({"content": "again"}, METADATA)
    starts = [event for event in events(written) if event["type"] == "text-start"]
    assert [start["id"] for start in starts] == ["write-1", "write-2"]


def test_a_void_message_leaves_the_step(void: RemoveMessage) -> None:
    """The step is reset, and what else was said in it written again, open parts open."""
    writer = AiSdk()
    writer.parts.feed(chunk("kept ", id="m1"), METADATA)
    writer.parts.feed(chunk("void", id="m2"), METADATA)
    writer.custom({"stage": 1})
    told = events(writer.parts.feed(void, METADATA))
    assert [event["type"] for event in told] == [
        "reset-step",
        "text-start",
        "text-delta",
        "data-custom",
    ]
    assert told[2]["delta"] == "kept "
    assert kinds(writer.parts.feed(chunk("on", id="m1"), METADATA)) == ["text-delta"]
    assert writer.parts.feed(void, METADATA) == b""


def test_a_void_message_leaves_the_conversation(void: RemoveMessage) -> None:
    """AG-UI's client is told all messages without it; its events are ended first."""
    before = {"id": "u1", "role": "user", "content": "hi"}
    writer = AgUi([before])
    writer.parts.feed(thinking("hm", id="m1"), METADATA)
    writer.parts.feed(chunk("kept", id="m1"), METADATA)
    writer.parts.feed(chunk("void", id="m2"), METADATA)
    ended, snapshot = events(writer.parts.feed(void, METADATA))
    assert [ended["type"], ended["messageId"]] == ["TEXT_MESSAGE_END", "m2"]
    roles = [(each["role"], each["content"]) for each in snapshot["messages"]]
    assert roles == [("user", "hi"), ("reasoning", "hm"), ("assistant", "kept")]


@pytest.fixture
def void() -> RemoveMessage:
    """Says that the second message is void."""
    return RemoveMessage(id="m2")


@given(st.lists(st.text()))
def test_any_text_arrives(texts: list[str]) -> None:
    """Whatever characters come, the texts added up are what was said."""
    writer = AiSdk()
    written = b"".join(writer.parts.feed(chunk(text), METADATA) for text in texts)
    deltas = [event["delta"] for event in events(written) if event["type"] == "text-delta"]
    assert "".join(deltas) == "".join(texts)
    for item in writer.parts.items:
        assert isinstance(item, Said)
        assert "".join(part.text for part in item.parts) == "".join(texts)


def test_half_of_a_letter() -> None:
    """Half of a surrogate pair, which is no text, does not end the stream."""
    [*_, told] = events(AiSdk().parts.feed(chunk("a\ud83d"), METADATA))
    assert told["delta"] == "a\ufffd"


def test_custom_writes_name_their_part() -> None:
    """``type`` names the part, ``id`` is what replaces it, and what is transient is not kept."""
    writer = AiSdk()
    write = {"type": "weather", "id": "w1", "sky": "blue"}
    assert events(writer.custom(write))[-1] == {"type": "data-weather", "data": write, "id": "w1"}
    assert events(writer.custom("plain"))[-1] == {"type": "data-custom", "data": "plain"}
    [passing] = events(writer.custom({"type": "tick", "transient": True}))
    assert [passing["type"], passing["transient"]] == ["data-tick", True]
    [told] = events(AgUi().custom(write))
    assert told == {"type": "CUSTOM", "name": "weather", "value": write}
