"""Learns the fields that LangChain sets in a model's message chunks, so that chunks can be copied.

Private names used: an ``AIMessageChunk`` is a pydantic model, whose instances hold their fields in
``__dict__`` beside ``__pydantic_fields_set__``, ``__pydantic_extra__`` and
``__pydantic_private__``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

__all__ = ["ChunkTemplate", "Convert", "Fields", "metadata_of"]

Convert = Callable[[dict[str, Any]], "ChatGenerationChunk | None"]
"""LangChain's own conversion of an event."""

Fields = tuple[dict[str, Any], set[str]]
"""The fields of a chunk, and the names of those that are set."""

_FRESH: dict[str, Callable[[], Any]] = {
    "additional_kwargs": dict,
    "tool_calls": list,
    "invalid_tool_calls": list,
    "tool_call_chunks": list,
}
"""Fields that chunks must not share; they are empty unless the chunk has a piece of a tool call."""

_TEXT: dict[str, Any] = {"delta": {"content": "text"}, "finish_reason": None, "index": 0}
_TOOL: dict[str, Any] = {
    "delta": {
        "tool_calls": [{"index": 0, "id": None, "function": {"name": None, "arguments": "x"}}]
    },
    "finish_reason": None,
    "index": 0,
}


def metadata_of(made: ChatGeneration) -> dict[str, Any]:
    """The response metadata that LangChain's models set on a message."""
    return {**(made.generation_info or {}), **made.message.response_metadata}


class ChunkTemplate:
    """The fields of a model's chunks, learned from one chunk of each kind that LangChain makes.

    Args:
        convert: This model's conversion of an event, by LangChain.

    Attributes:
        text: The fields of a chunk of text.
        tool: The fields of a chunk of a tool call.
        metadata: The response metadata of both.

    Raises:
        ValueError: If LangChain makes chunks that cannot be copied; the message says why.
    """

    def __init__(self, convert: Convert) -> None:
        self.text, self.metadata = _learned(convert, _TEXT, "text")
        self.tool, metadata = _learned(convert, _TOOL, "")
        if metadata != self.metadata:
            raise ValueError("chunks of tool calls have other metadata than chunks of text")


def _learned(
    convert: Convert, choice: dict[str, Any], content: str
) -> tuple[Fields, dict[str, Any]]:
    """The fields of a chunk of this kind, and its metadata."""
    converted = convert({"id": "x", "choices": [choice], "object": "chat.completion.chunk"})
    if converted is None or type(converted.message) is not AIMessageChunk:
        raise ValueError("an event is converted to something else than an AIMessageChunk")
    message = converted.message
    message.response_metadata = metadata_of(converted)
    message.id = "id"
    fields = dict(message.__dict__)  # its order is that of the repr
    metadata = fields["response_metadata"]
    if any(isinstance(value, (dict, list)) for value in metadata.values()):
        raise ValueError("the metadata of a chunk is not flat")
    if fields.get("content") != content:
        raise ValueError("the text of a chunk is not its content")
    for name, empty in _FRESH.items():
        value = fields.get(name)
        filled = bool(value) and (choice is _TEXT or name == "additional_kwargs")
        if type(value) is not empty or filled:
            raise ValueError(f"{name} of a chunk is {value!r}")
    own = {*_FRESH, "response_metadata"}
    if any(isinstance(fields[name], (dict, list, set)) for name in fields.keys() - own):
        raise ValueError("a chunk has other fields that cannot be shared")
    if message.__pydantic_extra__ or message.__pydantic_private__ is not None:
        raise ValueError("a chunk has fields of its own")
    return (fields, set(message.__pydantic_fields_set__)), metadata
