"""Values as JSON on one line: messages as LangGraph's server writes them, and what states hold.

Chunks are most of what is written, so they have a way of their own.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from typing import Any

import msgspec
from langchain_core.messages import AIMessageChunk, BaseMessage

__all__ = ["TokenEncoder", "encode", "explain", "plain", "scrubbed"]

_SHORTEST_SECRET = 8
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
_KEY = re.compile(
    r"(?<![\w-])(?:sk|pk|rk|gsk|xai|hf|ghp|lsv2|AIza)[-_]?[\w*-]{12,}|(?<=Bearer )[^\s'\",]+"
)
_PATH = re.compile(r"(?<![\w:/.])(?:/[\w.@+ -]+){2,}\.\w+|(?<!\w)[A-Za-z]:\\[^\s'\":]+")


def encode(value: Any) -> bytes:
    """A value as a JSON document in UTF-8. What JSON does not know becomes what describes it."""
    try:
        return _ENCODER.encode(value)
    except Exception:  # noqa: BLE001 - tuples as keys, lone surrogates, recursion: the slow way
        return json.dumps(_plain(value, 0), ensure_ascii=True).encode()


def plain(value: Any) -> Any:
    """A value as it is after being written as JSON and read again."""
    return msgspec.json.decode(encode(value))


class TokenEncoder:
    """Writes ``[chunk, metadata]``. Remembers the metadata of the calls, which all chunks share."""

    def __init__(self, **more: Any) -> None:
        """``more`` is added to all metadata."""
        self._more = more
        self._known: dict[int, tuple[Any, bytes]] = {}

    def encode(self, chunk: BaseMessage, metadata: Any) -> bytes:
        """One token as JSON."""
        return b"[%s,%s]" % (_message(chunk), self._metadata(metadata))

    def _metadata(self, metadata: Any) -> bytes:
        known = self._known.get(id(metadata))
        if known is not None and known[0] is metadata:
            return known[1]
        if len(self._known) > 64:
            self._known.clear()
        written = encode({**metadata, **self._more} if isinstance(metadata, dict) else metadata)
        self._known[id(metadata)] = (metadata, written)
        return written


def explain(error: BaseException) -> dict[str, str]:
    """An error as clients may read it: its name and its message; no stack, folder, key or cause."""
    return {"error": type(error).__name__, "message": scrubbed(str(error))}


def scrubbed(text: str) -> str:
    """A text without what looks like a key, without this process's secrets, and without folders."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.search(name):
            text = text.replace(value, "***")
    text = _KEY.sub("***", text)
    return _PATH.sub(lambda found: found[0].replace("\\", "/").rpartition("/")[2], text)


def _message(message: BaseMessage) -> bytes:
    if type(message) is AIMessageChunk:
        try:
            return _ENCODER.encode(
                {
                    "content": message.content,
                    "additional_kwargs": message.additional_kwargs,
                    "response_metadata": message.response_metadata,
                    "type": "AIMessageChunk",
                    "name": message.name,
                    "id": message.id,
                    "tool_calls": message.tool_calls,
                    "invalid_tool_calls": message.invalid_tool_calls,
                    "usage_metadata": message.usage_metadata,
                    "tool_call_chunks": message.tool_call_chunks,
                    "chunk_position": message.chunk_position,
                }
            )
        except Exception:  # noqa: BLE001 - as in encode
            return encode(message)
    return encode(message)


def _describe(value: Any) -> Any:
    """One step from what JSON does not know towards what it knows."""
    kinds: tuple[Any, ...] = (str, int, float, dict)
    for kind in kinds:  # their subclasses, such as LangChain's message.text
        if isinstance(value, kind):
            return kind(value)
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if hasattr(value, "_asdict"):
        return value._asdict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, BaseException):
        return explain(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if hasattr(value, "tolist"):  # an array
        return value.tolist()
    if isinstance(value, type) or callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return str(value)


_ENCODER = msgspec.json.Encoder(enc_hook=_describe)


def _plain(value: Any, depth: int) -> Any:
    if depth > 100:
        return "..."
    if value is None or isinstance(value, (str, int, float, bool)):
        if isinstance(value, float) and value - value != 0:
            return None  # NaN and infinity are not JSON
        return str(value) if isinstance(value, str) else value
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else str(key): _plain(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)) and not hasattr(value, "_asdict"):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "replace")
    return _plain(_describe(value), depth + 1)
