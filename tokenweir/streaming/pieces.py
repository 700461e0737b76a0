"""What of a token a person sees: text, reasoning, tool calls, tool results; and how it is named.

Takes message chunks, whole messages, and what nodes write by hand in ``custom`` mode: dicts with
``content``, and plain strings. Nothing here prints.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from langchain_core.messages import BaseMessage, BaseMessageChunk

__all__ = ["Kind", "Piece", "call_of", "is_last", "lane_name", "pieces", "tags_of", "visible"]

Kind = Literal["text", "reasoning", "call", "result"]
"""The model's answer, its thinking, a call of a tool that it writes, and what a tool returned."""


class Piece(NamedTuple):
    """A stretch of one kind. ``starts`` is True for the first piece of a tool's call."""

    kind: Kind
    text: str
    starts: bool = False


def pieces(chunk: Any) -> list[Piece]:
    """What there is to see in a chunk, in order; nothing for one that only carries usage."""
    if isinstance(chunk, str):
        return [Piece("text", chunk)] if chunk else []
    found: list[Piece] = []
    extra = _get(chunk, "additional_kwargs") or {}
    thought = extra.get("reasoning_content") if isinstance(extra, Mapping) else None
    thought = thought or (chunk.get("reasoning_content") if isinstance(chunk, Mapping) else None)
    if isinstance(thought, str) and thought:
        found.append(Piece("reasoning", thought))
    answers: Kind = "result" if "tool" in (_get(chunk, "type"), _get(chunk, "role")) else "text"
    found.extend(_content(_get(chunk, "content"), answers))
    found.extend(_calls(chunk))
    return found


def _get(chunk: Any, name: str) -> Any:
    return chunk.get(name) if isinstance(chunk, Mapping) else getattr(chunk, name, None)


def _content(content: Any, kind: Kind) -> Iterator[Piece]:
    """Content is a string, or blocks: strings and dicts, whose shapes differ by provider."""
    if isinstance(content, str):
        if content:
            yield Piece(kind, content)
        return
    for block in content if isinstance(content, (list, tuple)) else ():
        if isinstance(block, str):
            if block:
                yield Piece(kind, block)
        elif isinstance(block, Mapping):
            text = block.get("text")
            thought = block.get("reasoning") or block.get("thinking") or block.get("summary")
            if isinstance(text, str) and text:
                yield Piece(kind, text)
            elif isinstance(thought, str) and thought:
                yield Piece("reasoning", thought)
            elif isinstance(thought, (list, tuple)):
                for part in thought:
                    if isinstance(part, Mapping) and part.get("text"):
                        yield Piece("reasoning", str(part["text"]))


def _calls(chunk: Any) -> Iterator[Piece]:
    partial = _get(chunk, "tool_call_chunks")
    if partial:
        for call in partial:
            name, args = call.get("name") or "", call.get("args") or ""
            if name or args:
                yield Piece("call", f"{name} {args}" if name else args, bool(name))
        return
    for call in _get(chunk, "tool_calls") or ():
        if not isinstance(call, Mapping):
            continue
        spec = call.get("function")
        if isinstance(spec, Mapping):  # the provider's own form, in a chunk written by hand
            name, args = spec.get("name") or "", spec.get("arguments") or ""
        else:
            name = call.get("name") or ""
            args = json.dumps(call.get("args") or {}, ensure_ascii=False, default=str)
        if name or args:
            yield Piece("call", f"{name} {args}" if name else args, bool(name))


def tags_of(metadata: Mapping[str, Any]) -> list[str]:
    """The tags that a person gave: without those that LangChain and LangSmith add."""
    tags = metadata.get("tags") or ()
    return [tag for tag in tags if not tag.startswith(("seq:step", "langsmith:"))]


def lane_name(metadata: Mapping[str, Any]) -> str:
    """What to call the lane of a model call: its tags, else its node, else its model."""
    tags = tags_of(metadata)
    name = metadata.get("langgraph_node") or metadata.get("ls_model_name") or "tokens"
    return " ".join(tags) if tags else str(name)


def call_of(chunk: Any, metadata: Mapping[str, Any]) -> Hashable:
    """What tells one model call from another: the message's id, else where it was written."""
    message_id = _get(chunk, "id")
    if isinstance(message_id, str) and message_id:
        return message_id
    namespace = metadata.get("langgraph_checkpoint_ns")
    return (namespace, metadata.get("langgraph_node"), *tags_of(metadata))


def is_last(chunk: Any) -> bool:
    """Whether this ends its call: marked as last, or a whole message."""
    if isinstance(chunk, BaseMessage) and not isinstance(chunk, BaseMessageChunk):
        return True
    return getattr(chunk, "chunk_position", None) == "last"


def _controls() -> dict[int, str]:
    """Control characters to what stands for them: pictures for C0, escapes for the rest."""
    table = {code: chr(0x2400 + code) for code in range(0x20)}
    table[0x7F] = "\u2421"
    invisible = [*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    table |= {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in invisible}
    table |= {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}
    del table[0x0A]
    # CR LF is a line's end in what models write; CR alone would let text overwrite itself.
    return table | {0x09: "    ", 0x0D: "", 0x2028: "\n", 0x2029: "\n"}


_CONTROLS = _controls()


def visible(text: str, encoding: str = "utf-8") -> str:
    """Text that a terminal shows and does not obey.

    Control characters (escape sequences, backspace, bell), marks that turn the direction of
    writing, and half surrogates become visible; what ``encoding`` lacks becomes an escape.
    """
    text = text.translate(_CONTROLS)
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        return text
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        return text.encode("ascii", "backslashreplace").decode("ascii")
