"""Writes a run's events for LangGraph's clients: server-sent events, one JSON document each.

No I/O. On the wire, the mode ``messages`` is cumulative: each event has the message so far. Chunks
before the reader's cursor are therefore added up, too, but not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from tokenweir.serving.log.events import END, Event
from tokenweir.serving.problems import InvalidError
from tokenweir.serving.running.encoding import encode
from tokenweir.serving.running.execution import MODES

__all__ = ["Frames", "recorded_modes", "wire_modes", "wire_names"]

_RECORDED = {"messages-tuple": "messages"}
_MODES = frozenset({*MODES, *_RECORDED})
_ALWAYS = frozenset({"metadata", "error"})
_DROPPED = ("tool_call_chunks", "chunk_position")


def wire_modes(given: Any, default: str = "values") -> list[str]:
    """The stream modes of a request, one name or a list. Raises InvalidError."""
    if given is None or given == []:  # React's hook sends [] if nothing of the stream is used
        return [default]
    names = given if isinstance(given, list) else [given]
    unknown = [name for name in names if not isinstance(name, str) or name not in _MODES]
    if unknown:
        raise InvalidError(f"stream_mode is any of {', '.join(sorted(_MODES))}; got {given!r}")
    return names


def recorded_modes(modes: Iterable[str]) -> list[str]:
    """The modes that a run must record to serve these modes."""
    return list(dict.fromkeys(_RECORDED.get(mode, mode) for mode in modes))


def wire_names(modes: Iterable[str]) -> list[str]:
    """The wire names of recorded modes."""
    return ["messages-tuple" if mode == "messages" else mode for mode in modes]


class Frames:
    """Writes the events of one run for one reader."""

    def __init__(
        self,
        modes: Collection[str],
        after: int = 0,
        number: Callable[[int], int] = lambda event_id: event_id,
    ) -> None:
        """
        Args:
            modes: The modes to send.
            after: The reader's cursor: events up to it are taken in, but not sent.
            number: Maps an event's id to the id that is sent.
        """
        self._number = number
        self._wanted = _ALWAYS | {mode for mode in modes if mode != "messages"}
        self._tuples = "messages-tuple" in modes
        self._partial = "messages" in modes
        self._after = after
        self._messages: dict[str, dict[str, Any]] = {}

    @property
    def start(self) -> int:
        """The id after which the record must be read."""
        return 0 if self._partial else self._after

    def encode(self, events: Iterable[Event]) -> bytes:
        """The bytes for these events; b"" if there are none."""
        found: list[bytes] = []
        for event in events:
            mode, bar, namespace = event.kind.partition("|")
            sent = event.id > self._after
            if mode == "messages":
                if self._partial:
                    partial = self._cumulative(event, bar + namespace)
                    if sent:
                        found += partial
                if self._tuples and sent:
                    found.append(_frame(event.kind, event.data, self._number(event.id)))
            elif sent and mode in self._wanted and mode != END:
                found.append(_frame(event.kind, event.data, self._number(event.id)))
        return b"".join(found)

    def _cumulative(self, event: Event, suffix: str) -> list[bytes]:
        message, metadata = event.value
        message_id = message.get("id")
        frames = []
        known = self._messages.get(message_id)
        if known is None:
            about = encode({message_id: {"metadata": metadata}})
            frames.append(_frame(f"messages/metadata{suffix}", about))
            known = self._messages[message_id] = _begun(message)
            whole = message.get("type") != "AIMessageChunk"
        else:
            whole = message.get("type") != "AIMessageChunk"
            self._messages[message_id] = known = (
                _begun(message) if whole else _added(known, message)
            )
        name = "messages/complete" if whole else "messages/partial"
        shown = {name: value for name, value in known.items() if name != "_chunks"}
        frames.append(_frame(f"{name}{suffix}", encode([shown]), self._number(event.id)))
        return frames


def _frame(kind: str, data: bytes, id: int | None = None) -> bytes:
    if id is None:
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)
    return b"event: %s\ndata: %s\nid: %d\n\n" % (kind.encode(), data, id)


def _begun(message: dict[str, Any]) -> dict[str, Any]:
    """A message made from its first chunk; a copy, as decoded values are shared."""
    begun = {name: value for name, value in message.items() if name not in _DROPPED}
    if begun.get("type") == "AIMessageChunk":
        begun["type"] = "ai"
    if chunks := message.get("tool_call_chunks"):
        begun["_chunks"] = _joined({}, chunks)
    return _with_calls(begun)


def _added(known: dict[str, Any], chunk: dict[str, Any]) -> dict[str, Any]:
    """A message with one more chunk added."""
    added = dict(known)
    added["content"] = _content(known.get("content"), chunk.get("content"))
    for name in ("additional_kwargs", "response_metadata"):
        added[name] = _merged(known.get(name) or {}, chunk.get(name) or {})
    if usage := chunk.get("usage_metadata"):
        added["usage_metadata"] = usage
    if chunks := chunk.get("tool_call_chunks"):
        added["_chunks"] = _joined(known.get("_chunks") or {}, chunks)
    return _with_calls(added)


def _content(known: Any, more: Any) -> Any:
    if isinstance(known, str) and isinstance(more, str):
        return known + more
    if not more:
        return known
    blocks: list[Any] = [
        {"type": "text", "text": each} if isinstance(each, str) else dict(each)
        for each in ([known] if isinstance(known, str) and known else known or [])
    ]
    for block in [{"type": "text", "text": more}] if isinstance(more, str) else more:
        last = blocks[-1] if blocks else None
        if (
            last is not None
            and isinstance(block, dict)
            and last.get("type") == block.get("type")
            and last.get("index") == block.get("index")
        ):
            blocks[-1] = _merged(last, {n: v for n, v in block.items() if n not in _KEPT})
        else:
            blocks.append(block)
    return blocks


_KEPT = ("type", "index", "id")


def _merged(known: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Concatenate texts and replace other values, as readers of partial messages need it."""
    merged = dict(known)
    for name, value in more.items():
        before = merged.get(name)
        if name in ("reasoning_content", "text", "reasoning", "thinking") and before:
            merged[name] = before + value
        elif value is not None:
            merged[name] = value
    return merged


def _joined(known: dict[Any, Any], chunks: list[dict[str, Any]]) -> dict[Any, Any]:
    """The tool calls with more pieces added, by index."""
    joined = dict(known)
    for chunk in chunks:
        before = joined.get(chunk.get("index")) or {"name": "", "args": "", "id": None}
        joined[chunk.get("index")] = {
            "name": before["name"] + (chunk.get("name") or ""),
            "args": before["args"] + (chunk.get("args") or ""),
            "id": chunk.get("id") or before["id"],
        }
    return joined


def _with_calls(message: dict[str, Any]) -> dict[str, Any]:
    from langchain_core.utils.json import parse_partial_json

    pieces = message.get("_chunks")
    if not pieces:
        return message
    calls, invalid = [], []
    for piece in pieces.values():
        try:
            args = parse_partial_json(piece["args"]) if piece["args"] else {}
        except ValueError:
            args = None
        if isinstance(args, dict):
            calls.append({**piece, "args": args, "type": "tool_call"})
        else:
            invalid.append({**piece, "error": None, "type": "invalid_tool_call"})
    message["tool_calls"], message["invalid_tool_calls"] = calls, invalid
    return message
