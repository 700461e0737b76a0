"""Message chunks of OpenAI's chat protocol, made from a template.

Private names used: an ``AIMessageChunk`` is a pydantic model, whose instances hold their fields in
``__dict__`` beside ``__pydantic_fields_set__``, ``__pydantic_extra__`` and
``__pydantic_private__``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from langchain_core.messages import AIMessageChunk, InvalidToolCall
from langchain_core.messages.tool import (
    ToolCall,
    ToolCallChunk,
    invalid_tool_call,
    tool_call,
    tool_call_chunk,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from tokenweir.streaming.merge import parse_cut_json

__all__ = ["ChunkTemplate", "Convert", "metadata_of"]

Convert = Callable[[dict[str, Any]], "ChatGenerationChunk | None"]
"""LangChain's own conversion of an event."""

_FRESH: dict[str, Callable[[], Any]] = {
    "additional_kwargs": dict,
    "tool_calls": list,
    "invalid_tool_calls": list,
    "tool_call_chunks": list,
}
"""Fields that every chunk has its own of, empty unless a piece of a tool call fills them."""

_TEXT: dict[str, Any] = {"delta": {"content": "text"}, "finish_reason": None, "index": 0}
_TOOL: dict[str, Any] = {
    "delta": {
        "tool_calls": [{"index": 0, "id": None, "function": {"name": None, "arguments": "x"}}]
    },
    "finish_reason": None,
    "index": 0,
}

_set = object.__setattr__


def metadata_of(made: ChatGeneration) -> dict[str, Any]:
    """The response metadata that LangChain's models give to a message."""
    return {**(made.generation_info or {}), **made.message.response_metadata}


class ChunkTemplate:
    """Makes message chunks as LangChain makes them of a model's events, at a fraction of the cost.

    What is the same in every chunk of a model is copied from a chunk that LangChain has made.

    Args:
        convert: LangChain's conversion of an event, as this model does it.

    Raises:
        ValueError: If LangChain makes chunks that cannot be copied; the message says why.
    """

    def __init__(self, convert: Convert) -> None:
        self._text, self._text_fields, self._metadata = _template(convert, _TEXT, "text")
        self._tool, self._tool_fields, metadata = _template(convert, _TOOL, "")
        if metadata != self._metadata:
            raise ValueError("chunks of tool calls have other metadata than chunks of text")

    def text(self, content: str, id: str) -> AIMessageChunk:
        """A chunk of text."""
        made = AIMessageChunk.__new__(AIMessageChunk)
        fields = self._text.copy()
        fields["content"] = content
        fields["id"] = id
        fields["additional_kwargs"] = {}
        fields["response_metadata"] = self._metadata.copy()
        fields["tool_calls"] = []
        fields["invalid_tool_calls"] = []
        fields["tool_call_chunks"] = []
        _set(made, "__dict__", fields)
        _set(made, "__pydantic_fields_set__", self._text_fields.copy())
        _set(made, "__pydantic_extra__", {})
        _set(made, "__pydantic_private__", None)
        return made

    def with_logprobs(self, content: str, logprobs: dict[str, Any], id: str) -> AIMessageChunk:
        """A chunk of text with its log probabilities."""
        made = self.text(content, id)
        made.__dict__["response_metadata"] = {"logprobs": logprobs, **self._metadata}
        return made

    def tool(
        self, pieces: Iterable[tuple[int, str | None, str | None, str | None]], id: str
    ) -> AIMessageChunk:
        """A chunk of tool calls; each piece is parsed as far as it is JSON."""
        chunks: list[ToolCallChunk] = []
        calls: list[ToolCall] = []
        invalid: list[InvalidToolCall] = []
        for index, call_id, name, arguments in pieces:
            chunks.append(tool_call_chunk(name=name, args=arguments, id=call_id, index=index))
            found = _object_in(arguments) if arguments else {}
            if found is None:
                invalid.append(invalid_tool_call(name=name, args=arguments, id=call_id, error=None))
            else:
                calls.append(tool_call(name=name or "", args=found, id=call_id))
        made = self.joined_tool(chunks, id)
        made.__dict__["tool_calls"] = calls
        made.__dict__["invalid_tool_calls"] = invalid
        return made

    def joined_tool(self, chunks: list[ToolCallChunk], id: str) -> AIMessageChunk:
        """A chunk of tool calls that are not parsed."""
        made = AIMessageChunk.__new__(AIMessageChunk)
        fields = self._tool.copy()
        fields["id"] = id
        fields["additional_kwargs"] = {}
        fields["response_metadata"] = self._metadata.copy()
        fields["tool_calls"] = []
        fields["invalid_tool_calls"] = []
        fields["tool_call_chunks"] = chunks
        _set(made, "__dict__", fields)
        _set(made, "__pydantic_fields_set__", self._tool_fields.copy())
        _set(made, "__pydantic_extra__", {})
        _set(made, "__pydantic_private__", None)
        return made


def _object_in(arguments: str) -> dict[str, Any] | None:
    """The object that (a part of) a tool call's arguments is; None if it is none."""
    if arguments.lstrip(" \t\n\r")[:1] != "{":
        return None  # no shortening of it would be an object
    try:
        found = parse_cut_json(arguments)
    except (ValueError, RecursionError):  # a model may repeat a bracket for ever
        return None
    return found if isinstance(found, dict) else None


def _template(
    convert: Convert, choice: dict[str, Any], content: str
) -> tuple[dict[str, Any], set[str], dict[str, Any]]:
    """The fields of a chunk of this kind, the names of those that are set, and its metadata."""
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
    return fields, set(message.__pydantic_fields_set__), metadata
