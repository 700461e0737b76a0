"""Merges chunks into their message, in time linear in their length.

The result equals LangChain's own sum, value for value. LangChain takes quadratic time: it parses
the arguments of a tool call again for every chunk, and cut-off arguments again for every shorter
prefix. Here the arguments are joined first and parsed once. If a prefix cannot be parsed, the
parser's error says how much to cut off before the next attempt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    BaseMessageChunk,
    message_chunk_to_message,
)
from langchain_core.messages.tool import (
    ToolCall,
    ToolCallChunk,
    invalid_tool_call,
    tool_call,
)

__all__ = ["add_usage", "joined_calls", "message_of", "parse_cut_json"]


def message_of(chunks: Sequence[BaseMessage]) -> BaseMessage:
    """The message that these chunks of one call add up to; a whole message is unchanged."""
    first, *rest = chunks
    if not isinstance(first, BaseMessageChunk):
        return first if not rest else chunks[-1]
    if not isinstance(first, AIMessageChunk):
        whole = first
        for chunk in rest:
            whole = whole + chunk
        return message_chunk_to_message(whole)
    calls = joined_calls(
        chunk.tool_call_chunks for chunk in chunks if isinstance(chunk, AIMessageChunk)
    )
    plain = [_without_tool_calls(chunk) for chunk in chunks if isinstance(chunk, AIMessageChunk)]
    message: BaseMessage | None = _joined(plain) if rest else None
    if message is None:
        message = message_chunk_to_message(plain[0] + plain[1:] if rest else plain[0])
    assert isinstance(message, AIMessage)
    for call in calls:
        _add_tool_call(message, call)
    return message


def _joined(chunks: Sequence[AIMessageChunk]) -> AIMessage | None:
    """The message of chunks that hold only text, and metadata without repeated keys.

    None for other chunks, which need LangChain's own sum.
    """
    message_id, usage = chunks[0].id, None
    texts: list[str] = []
    metadata: dict[str, Any] = {}
    for chunk in chunks:
        text, counts = chunk.content, chunk.usage_metadata
        if (
            type(chunk) is not AIMessageChunk
            or type(text) is not str
            or chunk.id != message_id
            or chunk.additional_kwargs
        ):
            return None
        texts.append(text)
        for name, value in chunk.response_metadata.items():
            if name not in metadata:
                metadata[name] = value
            elif name != "model_provider" or metadata[name] != value:
                return None
        if counts is not None:
            if usage is not None or not counts:
                return None
            usage = counts
    return AIMessage(
        content="".join(texts),
        additional_kwargs={},
        response_metadata=metadata,
        name=None,
        id=message_id,
        tool_calls=[],
        invalid_tool_calls=[],
        usage_metadata=usage,
    )


def _without_tool_calls(chunk: AIMessageChunk) -> AIMessageChunk:
    if not chunk.tool_call_chunks:
        return chunk
    nothing: dict[str, Any] = {
        "tool_call_chunks": [],
        "tool_calls": [],
        "invalid_tool_calls": [],
    }
    return chunk.model_copy(update=nothing)


def add_usage(known: Mapping[str, Any] | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """The sum of two dicts of token counts; counts may be nested in dicts."""
    added = dict(known or {})
    for name, value in more.items():
        if isinstance(value, Mapping):
            if value:
                added[name] = add_usage(added.get(name), value)
        elif isinstance(value, (int, float)):
            added[name] = (added.get(name) or 0) + value
    return added


def joined_calls(deltas: Iterable[list[ToolCallChunk]]) -> list[ToolCallChunk]:
    """Join the deltas of tool calls as LangChain does: by index, if the ids agree."""
    calls: list[ToolCallChunk] = []
    arguments: list[list[str]] = []
    started = False
    for delta in deltas:
        for piece in delta:
            at = _same_call(calls, piece) if started else None
            if at is None:
                calls.append(piece.copy())
                arguments.append([piece["args"] or ""])
                continue
            call = calls[at]
            if not call["id"] and piece["id"] is not None:
                call["id"] = piece["id"]
            if piece["name"] is not None:
                call["name"] = (call["name"] or "") + piece["name"]
            if piece["args"]:
                arguments[at].append(piece["args"])
        started = True
    for call, parts in zip(calls, arguments, strict=True):
        call["args"] = "".join(parts)
    return calls


def _same_call(calls: list[ToolCallChunk], piece: ToolCallChunk) -> int | None:
    if not isinstance(piece["index"], int):
        return None
    for at, call in enumerate(calls):
        if call["index"] == piece["index"] and (
            not call["id"] or not piece["id"] or call["id"] == piece["id"]
        ):
            return at
    return None


def _add_tool_call(message: AIMessage, call: ToolCallChunk) -> None:
    try:
        arguments = parse_cut_json(call["args"]) if call["args"] else {}
    except (ValueError, RecursionError):  # the last for brackets a thousand deep
        arguments = None
    if isinstance(arguments, dict):
        made: ToolCall = tool_call(name=call["name"] or "", args=arguments, id=call["id"])
        message.tool_calls.append(made)
    else:
        message.invalid_tool_calls.append(
            invalid_tool_call(name=call["name"], args=call["args"], id=call["id"], error=None)
        )


def parse_cut_json(text: str) -> Any:
    """What ``langchain_core.utils.json.parse_partial_json`` gives, in linear time.

    Strings and brackets that are open at the end are closed, and then the end is shortened until
    the rest is JSON. If no prefix is, this raises ``json.JSONDecodeError`` for the whole text.
    """
    try:
        return json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        whole = error
    completed, closing = _completed(text)
    if completed is None:
        return None
    length = len(completed)
    while length:
        try:
            return json.loads(completed[:length] + closing, strict=False)
        except json.JSONDecodeError as error:
            # The parser reads from the left, so the text stays invalid until the place where it
            # failed is cut off. If it failed in the closing brackets, remove the last character.
            length = error.pos if error.pos < length else length - 1
            length = len(completed[:length].rstrip(" \t\n\r"))
    raise whole


def _completed(text: str) -> tuple[str | None, str]:
    """The text with an open string closed, and the open brackets; None if they do not match."""
    characters: list[str] = []
    open_brackets: list[str] = []
    in_string = escaped = False
    for character in text:
        if in_string:
            if character == '"' and not escaped:
                in_string = False
            elif character == "\n" and not escaped:
                characters.append("\\n")
                continue
            elif character == "\\":
                escaped = not escaped
            else:
                escaped = False
        elif character == '"':
            in_string, escaped = True, False
        elif character in "{[":
            open_brackets.append("}" if character == "{" else "]")
        elif character in "}]" and (not open_brackets or open_brackets.pop() != character):
            return None, ""
        characters.append(character)
    if in_string:
        if escaped:
            characters.pop()
        characters.append('"')
    return "".join(characters), "".join(reversed(open_brackets))
