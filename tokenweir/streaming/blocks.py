"""Turns a message's chunks into block events, as LangChain's protocol defines them. No I/O.

Each event is one of ``langchain_protocol``'s ``MessagesData``: ``message-start``,
``content-block-start``, ``content-block-delta``, ``content-block-finish``, ``message-finish``, or
``error`` for a message that was not finished. Chunks are passed as dicts of their fields, which
message objects and records both provide.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk

from tokenweir.streaming.merge import add_usage

__all__ = ["CHUNK", "RETRACTED", "Block", "MessageBlocks"]

CHUNK = "AIMessageChunk"
"""The type of a chunk, as opposed to a whole message."""

RETRACTED = "retracted"
"""The ``code`` of the ``error`` that makes a message void because its node runs again."""

_PIECES = {
    "text": ("text", "text-delta"),
    "reasoning": ("reasoning", "reasoning-delta"),
    "tool_call_chunk": ("args", "tool-call-delta"),
    "server_tool_call_chunk": ("args", "tool-call-delta"),
}
"""By type of block: the field that is streamed in pieces, and the type of a piece."""

_CALLS = {"tool_call_chunk": "tool_call", "server_tool_call_chunk": "server_tool_call"}
"""By type of a call that is streamed in pieces: its type when it is complete."""

_LATE = frozenset({"args", "base64", "data", "output", "transcript", "value"})
"""Fields that may be large: if a block is not streamed in pieces, they are sent at its end."""

_EMPTY: dict[str, dict[str, Any]] = {
    "tool_call": {"args": {}},
    "server_tool_call": {"args": {}},
    "non_standard": {"value": {}},
}
"""By type of block: the fields that its start must already have."""

_TEXT = ("text", None)
"""The key of the block that plain text goes to."""

_THOUGHTS = "reasoning_content"
"""The key of the block for reasoning that is not part of a chunk's content."""


class Block:
    """One content block of a message.

    Attributes:
        index: Its position in the message.
        kind: ``text``, ``reasoning``, ``tool_call_chunk``, or another type of LangChain's.
        pieces: The pieces so far: texts, or JSON of texts as bytes.
        fields: All other fields.
    """

    __slots__ = ("fields", "index", "kind", "pieces")

    def __init__(self, index: int, kind: str, fields: dict[str, Any]) -> None:
        self.index = index
        self.kind = kind
        self.fields = fields
        self.pieces: list[str | bytes] = []

    def add(self, piece: str) -> dict[str, Any]:
        """Add a piece, and return its delta."""
        self.pieces.append(piece)
        return self.told(piece)

    def told(self, piece: str) -> dict[str, Any]:
        """The delta of a piece."""
        name, kind = _PIECES[self.kind]
        delta = {"type": kind, name: piece}
        return {"event": "content-block-delta", "index": self.index, "delta": delta}

    @property
    def text(self) -> str:
        """The pieces so far, joined."""
        pieces = self.pieces
        if all(isinstance(piece, str) for piece in pieces):
            text = "".join(pieces)  # type: ignore[arg-type]
        else:  # there may be very many: read at once
            texts = (p if isinstance(p, bytes) else json.dumps(p).encode() for p in pieces)
            text = "".join(json.loads(b"[%s]" % b",".join(texts)))
        pieces[:] = [text]  # the same list, as others add to it
        return text

    @property
    def begun(self) -> dict[str, Any]:
        """The block as it starts, without the fields that are sent later."""
        known, kind = self.fields, self.kind
        if kind not in _PIECES:
            light = {name: value for name, value in known.items() if name not in _LATE}
            return {**light, **_EMPTY.get(kind, {})}
        if kind in _CALLS:
            named = ("id", "name") if kind == "tool_call_chunk" else ()
            told = {n: known.get(n) for n in ("id", "name", "index")}
            known = {n: value for n, value in told.items() if value is not None or n in named}
        else:
            known = {n: v for n, v in known.items() if n not in ("index", "annotations")}
        return {**known, "type": kind, _PIECES[kind][0]: ""}

    @property
    def whole(self) -> dict[str, Any]:
        """The complete block; a call has its arguments parsed."""
        if self.kind in _CALLS:
            return _call(self.kind, self.fields, self.text)
        if self.kind in _PIECES:
            return {**self.fields, "type": self.kind, _PIECES[self.kind][0]: self.text}
        return self.fields


class MessageBlocks:
    """The blocks of one message.

    Attributes:
        id: Its id.
        blocks: Its blocks, in the order in which they began.
        usage: Token counts in LangChain's form; None if there were none.
        about: The provider's metadata: model, finish reason.
    """

    __slots__ = ("_beside", "_by_key", "about", "blocks", "id", "usage")

    def __init__(self, message_id: str) -> None:
        self.id = message_id
        self.blocks: list[Block] = []
        self.usage: dict[str, Any] | None = None
        self.about: dict[str, Any] = {}
        self._beside: list[dict[str, Any]] = []
        self._by_key: dict[Any, Block] = {}

    def begin(self, fields: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
        """Start the message with its first chunk; return the event, with more metadata."""
        about = fields.get("response_metadata") or {}
        names = {"model_provider": "provider", "model_name": "model"}
        metadata = {**{names[n]: about[n] for n in names if n in about}, **metadata}
        told: dict[str, Any] = {"event": "message-start", "role": "ai", "id": self.id}
        return {**told, "metadata": metadata} if metadata else told

    def feed(self, fields: Mapping[str, Any]) -> list[tuple[Block, dict[str, Any]]]:
        """Add a chunk or a whole message; return the events by block."""
        if about := fields.get("response_metadata"):
            self.about.update(about)
        if usage := fields.get("usage_metadata"):
            self.usage = add_usage(self.usage, usage)
        if beside := fields.get("additional_kwargs"):
            self._beside.append(beside)
        if (text := _text_alone(fields)) and (block := self._by_key.get(_TEXT)) is not None:
            return [(block, block.add(text))]  # nearly every chunk
        told: list[tuple[Block, dict[str, Any]]] = []
        for place, part in enumerate(_slices(fields)):
            told += self._part(part, place)
        return told

    def end(self, error: object = None) -> Iterator[dict[str, Any]]:
        """End the message, or break it off with an error; yield the events."""
        for block in self.blocks:
            over = {"event": "content-block-finish", "index": block.index, "content": block.whole}
            yield over
        if error is not None:
            yield {"event": "error", "message": str(error)}
            return
        last: dict[str, Any] = {"event": "message-finish"}
        if self.usage:
            last["usage"] = self.usage
        if self.about:
            last["metadata"] = self.about
        if self._beside and (beside := _joined(self._beside)):
            last["additional_kwargs"] = beside
        yield last

    def retract(self) -> dict[str, Any]:
        """The event that makes the message void."""
        text = "this message is void, because its node runs again"
        return {"event": "error", "message": text, "code": RETRACTED}

    def _part(self, part: Mapping[str, Any], place: int) -> list[tuple[Block, dict[str, Any]]]:
        told: list[tuple[Block, dict[str, Any]]] = []
        block, begins = self._block(part, place)
        piece, _ = _PIECES.get(block.kind, (None, ""))
        if piece is None or len(part) > 2:  # more than its type and its piece
            known = block.fields
            for name, value in part.items():
                if name != piece and (value is not None or name not in known):
                    known[name] = value
        if begins:
            start = {"event": "content-block-start", "index": block.index, "content": block.begun}
            told.append((block, start))
        if piece is not None and (text := part.get(piece)):
            told.append((block, block.add(text)))
        return told

    def _block(self, part: Mapping[str, Any], place: int) -> tuple[Block, bool]:
        """The block that a part belongs to, and whether the part starts it.

        Blocks without an index are told apart by the part's position in its chunk.
        """
        kind, index = str(part.get("type")), part.get("index")
        if kind == "tool_call_chunk" and index is None:
            last = self.blocks[-1] if self.blocks else None
            new = last is None or last.kind != kind
            index = part.get("id") or (f"call {len(self.blocks)}" if new else None)
            if last is not None and index is None:
                return last, False
        if kind not in _PIECES and index is None:
            index = f"block {place}"
        key = (kind, index)
        if (found := self._by_key.get(key)) is not None:
            return found, False
        made = self._by_key[key] = Block(len(self.blocks), kind, {})
        self.blocks.append(made)
        return made, True


def _text_alone(fields: Mapping[str, Any]) -> str | None:
    """The text of a chunk that adds only text to blocks; None for other chunks."""
    if fields.get("type") != CHUNK or fields.get("tool_call_chunks"):
        return None
    content = fields.get("content")
    return content if isinstance(content, str) and not fields.get("additional_kwargs") else None


def _slices(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parts of blocks in a chunk or a whole message, like LangChain's ``content_blocks``."""
    content, more = fields.get("content"), fields.get("additional_kwargs") or {}
    if not isinstance(content, str):
        return _read(fields)
    slices: list[dict[str, Any]] = []
    if said := more.get(_THOUGHTS):
        slices.append({"type": "reasoning", "reasoning": said})
    if content:
        slices.append({"type": "text", "text": content})
    if fields.get("type") == CHUNK:
        return slices + [
            {**call, "type": "tool_call_chunk"} for call in fields.get("tool_call_chunks") or ()
        ]
    for name in ("tool_calls", "invalid_tool_calls"):
        calls = fields.get(name) or ()
        slices += [{**call, "type": call.get("type") or name[:-1]} for call in calls]
    return slices


def _read(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The blocks of a message whose content is not text; LangChain knows the providers' forms."""
    made = AIMessageChunk if fields.get("type") == CHUNK else AIMessage
    given = {name: value for name, value in fields.items() if name != "type" and value is not None}
    try:
        blocks: Any = made(**given).content_blocks
    except Exception:  # noqa: BLE001 - what a node wrote may be anything
        return []
    return [dict(block) for block in blocks]


def _call(kind: str, fields: dict[str, Any], text: str) -> dict[str, Any]:
    """The complete call, made from its pieces."""
    told = {"type", "id", "name"} | ({"index"} if kind == "tool_call_chunk" else set())
    more = {n: value for n, value in fields.items() if n not in told and value is not None}
    call_id, name = fields.get("id"), fields.get("name")
    try:
        args = json.loads(text or "{}")
    except ValueError:
        args = None
    if isinstance(args, dict):
        return {"type": _CALLS[kind], "id": call_id or "", "name": name or "", "args": args, **more}
    error = "Failed to parse tool call arguments as JSON"
    call = {"type": "invalid_tool_call", "id": call_id, "name": name, "args": text}
    return {**call, "error": error, **more}


def _joined(beside: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields of a message's chunks outside their content, added up as LangChain does."""
    thoughts = "".join(each.get(_THOUGHTS) or "" for each in beside)
    others = [{n: v for n, v in each.items() if n != _THOUGHTS} for each in beside]
    chunks = [AIMessageChunk(content="", additional_kwargs=each) for each in others if each]
    joined: dict[str, Any] = (AIMessageChunk(content="") + chunks).additional_kwargs
    return {_THOUGHTS: thoughts, **joined} if thoughts else joined
