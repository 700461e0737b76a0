"""``--json``: what a run says, as plain data with names that stay. No I/O.

Keys without a value are left out, except those that every record of its type has.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, BaseMessageChunk, RemoveMessage

from tokenweir.streaming.content import reasoning_of, tags_of, text_of

__all__ = ["Record", "custom", "end", "failure", "line", "stats", "token"]

Record = dict[str, Any]


def token(namespace: Sequence[str], chunk: Any, metadata: Mapping[str, Any]) -> Record | None:
    """A token's record, or None for a chunk that carries nothing."""
    if isinstance(chunk, RemoveMessage):
        return {"type": "remove", "id": chunk.id}
    whole = isinstance(chunk, BaseMessage) and not isinstance(chunk, BaseMessageChunk)
    text = text_of(chunk)
    carried = {
        "reasoning": reasoning_of(chunk),
        "tool_calls": _tool_calls(chunk),
        "usage": getattr(chunk, "usage_metadata", None),
        "finish_reason": getattr(chunk, "response_metadata", {}).get("finish_reason"),
    }
    if not text and not any(carried.values()):
        return None
    record: Record = {
        "type": "message" if whole else "token",
        "text": text,
        "id": chunk.get("id") if isinstance(chunk, Mapping) else getattr(chunk, "id", None),
        "node": metadata.get("langgraph_node"),
        "tags": tags_of(metadata),
        "namespace": list(namespace),
        "model": metadata.get("ls_model_name"),
    }
    if whole:
        record["role"] = chunk.type
        carried["name"] = chunk.name
        carried["tool_call_id"] = getattr(chunk, "tool_call_id", None)
    return record | {key: value for key, value in carried.items() if value}


def _tool_calls(chunk: Any) -> list[Record]:
    """The tool calls in a chunk: of a streamed one, the parts that came with it."""
    if isinstance(chunk, Mapping):
        return list(chunk.get("tool_calls") or ())
    parts = getattr(chunk, "tool_call_chunks", None) or getattr(chunk, "tool_calls", None) or ()
    return [{key: part.get(key) for key in ("index", "id", "name", "args")} for part in parts]


def custom(namespace: Sequence[str], data: Any) -> Record:
    """What a node wrote in custom mode that is not a token."""
    return {"type": "custom", "namespace": list(namespace), "data": data}


def stats(report: Any) -> Record:
    """The meter's report."""
    return {"type": "stats", **dataclasses.asdict(report)}


def end(thread: str | None, tokens: int, seconds: float, interrupts: Sequence[Any]) -> Record:
    """The last record of a run that came to its end, or to an interrupt."""
    return {
        "type": "end",
        "thread": thread,
        "tokens": tokens,
        "seconds": round(seconds, 3),
        "interrupts": [
            {"id": getattr(interrupt, "id", None), "value": interrupt.value}
            for interrupt in interrupts
        ],
    }


def failure(error: BaseException) -> Record:
    """The last record of a run that failed or was interrupted."""
    cause = error.__cause__
    return {
        "type": "error",
        "error": type(error).__name__,
        "message": str(error) if isinstance(error, Exception) else "interrupted",
        "cause": type(cause).__name__ if cause is not None else None,
    }


def line(record: Record, encoding: str = "utf-8") -> str:
    """A record as one line of JSON, without its newline; what JSON lacks is written as text."""
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, ValueError):  # keys that are no strings; NaN, which jq and others refuse
        record = _strict(record)
        text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(record, default=_plain)
    return text


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    return dump() if callable(dump) and not isinstance(value, type) else str(value)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return _strict(_plain(value))
