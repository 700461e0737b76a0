"""What a chunk holds, and which model call it belongs to. No I/O.

A chunk may be a LangChain message or a chunk of one, such a message as plain data, or what a node
writes by hand in ``custom`` mode: a dict with ``content``, or a string. Providers put reasoning in
two places: as ``reasoning_content`` beside the content, or as blocks inside it.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from langchain_core.messages import BaseMessage, BaseMessageChunk

__all__ = [
    "Kind",
    "Piece",
    "call_of",
    "field_of",
    "is_cut",
    "is_last",
    "pieces",
    "reasoning_of",
    "tags_of",
    "text_of",
    "token_record",
]

Kind = Literal["text", "reasoning", "call", "result"]
"""The model's answer, its reasoning, a tool call that it writes, the result of a tool."""


class Piece(NamedTuple):
    """A stretch of one kind. ``starts`` is True for the first piece of a tool call."""

    kind: Kind
    text: str
    starts: bool = False


def pieces(chunk: Any) -> list[Piece]:
    """The pieces of a chunk, in order; none if it only carries usage."""
    if isinstance(chunk, str):
        return [Piece("text", chunk)] if chunk else []
    found: list[Piece] = []
    if thought := _beside(chunk):
        found.append(Piece("reasoning", thought))
    content = field_of(chunk, "content")
    kind: Kind = (
        "result" if "tool" in (field_of(chunk, "type"), field_of(chunk, "role")) else "text"
    )
    for block in content if isinstance(content, list) else [content]:
        found.extend(_in_block(block, kind))
    found.extend(_calls(chunk))
    return found


def text_of(chunk: Any) -> str:
    """The text in a chunk, of an answer or of a tool's result; "" if it holds none."""
    content = getattr(chunk, "content", None)  # of a message, as most are
    if type(content) is str:
        return content
    return "".join(piece.text for piece in pieces(chunk) if piece.kind in ("text", "result"))


def reasoning_of(chunk: Any) -> str:
    """The reasoning in a chunk; "" if it holds none."""
    if type(field_of(chunk, "content")) is str:
        return _beside(chunk)
    return "".join(piece.text for piece in pieces(chunk) if piece.kind == "reasoning")


def field_of(chunk: Any, name: str) -> Any:
    """A field of a message, which may be a dict; None if it is missing."""
    return chunk.get(name) if isinstance(chunk, dict) else getattr(chunk, name, None)


def _beside(chunk: Any) -> str:
    """The reasoning in fields other than the content."""
    found = (field_of(chunk, "additional_kwargs") or {}).get("reasoning_content")
    if not found and isinstance(chunk, dict):
        found = chunk.get("reasoning_content")
    return found if isinstance(found, str) else ""


def _in_block(block: Any, kind: Kind) -> Iterator[Piece]:
    """The pieces of a block of content. The fields of blocks differ by provider."""
    text = block.get("text") if isinstance(block, dict) else block
    if isinstance(text, str) and text:
        yield Piece(kind, text)
    elif isinstance(block, dict):
        thought = block.get("reasoning") or block.get("thinking") or block.get("summary")
        for part in thought if isinstance(thought, list) else [thought]:
            thought = part.get("text") if isinstance(part, dict) else part
            if isinstance(thought, str) and thought:
                yield Piece("reasoning", thought)


def _calls(chunk: Any) -> Iterator[Piece]:
    for call in field_of(chunk, "tool_call_chunks") or field_of(chunk, "tool_calls") or ():
        if not isinstance(call, dict):
            continue
        # A chunk written by hand may have the provider's own form.
        spec = call.get("function")
        name, args = (
            (spec.get("name"), spec.get("arguments"))
            if isinstance(spec, dict)
            else (call.get("name"), call.get("args"))
        )
        if args is not None and not isinstance(args, str):
            args = json.dumps(args, ensure_ascii=False, default=str)
        if name or args:
            yield Piece("call", f"{name} {args or ''}" if name else str(args), bool(name))


def tags_of(metadata: Mapping[str, Any]) -> list[str]:
    """The tags that the user gave a call, without those that LangChain's packages add."""
    tags = metadata.get("tags") or ()
    return [tag for tag in tags if not tag.startswith(("seq:step", "graph:", "langsmith:"))]


def call_of(chunk: Any, metadata: Mapping[str, Any]) -> Hashable:
    """A key for the model call of a chunk: its message id, or else the place that wrote it."""
    message_id = getattr(chunk, "id", None) or field_of(chunk, "id")
    if isinstance(message_id, str) and message_id:
        return message_id
    namespace = metadata.get("langgraph_checkpoint_ns")
    return (namespace, metadata.get("langgraph_node"), *tags_of(metadata))


def is_last(chunk: Any) -> bool:
    """Whether a chunk ends its call: it is marked as the last one, or is a whole message."""
    if isinstance(chunk, BaseMessage) and not isinstance(chunk, BaseMessageChunk):
        return True
    if isinstance(chunk, dict) and not str(chunk.get("type") or "Chunk").endswith("Chunk"):
        return True
    return bool(field_of(chunk, "chunk_position") == "last")


def is_cut(chunk: Any) -> bool:
    """Whether a chunk ends an answer that was cut off by its token limit."""
    return bool((field_of(chunk, "response_metadata") or {}).get("finish_reason") == "length")


def token_record(
    chunk: Any, metadata: Mapping[str, Any], namespace: Sequence[str] = ()
) -> dict[str, Any] | None:
    """A token as plain data, with the keys of ``tokenweir run --json``; None if it holds nothing.

    Keys without a value are left out, except those that every token has.
    """
    kind = field_of(chunk, "type")
    if kind == "remove":
        return {"type": "remove", "id": field_of(chunk, "id")}
    calls = field_of(chunk, "tool_call_chunks") or field_of(chunk, "tool_calls") or ()
    if kind is not None:  # not written by hand, in the provider's own form
        calls = [{key: call.get(key) for key in ("index", "id", "name", "args")} for call in calls]
    text = text_of(chunk)
    carried = {
        "reasoning": reasoning_of(chunk),
        "tool_calls": list(calls),
        "usage": field_of(chunk, "usage_metadata"),
        "finish_reason": (field_of(chunk, "response_metadata") or {}).get("finish_reason"),
    }
    if not text and not any(carried.values()):
        return None
    whole = isinstance(kind, str) and not kind.endswith("MessageChunk")
    record = {
        "type": "message" if whole else "token",
        "text": text,
        "id": field_of(chunk, "id"),
        "node": metadata.get("langgraph_node"),
        "tags": tags_of(metadata),
        "namespace": list(namespace),
        "model": metadata.get("ls_model_name"),
    }
    if whole:
        record["role"] = kind
        carried["name"] = field_of(chunk, "name")
        carried["tool_call_id"] = field_of(chunk, "tool_call_id")
    return record | {key: value for key, value in carried.items() if value}
