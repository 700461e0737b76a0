"""Encodes values as JSON on one line: messages as LangGraph's server writes them, and states.

Most values are message chunks, and most chunks are a text in the same envelope as the one before,
so these have a fast path.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from typing import Any

import msgspec
from langchain_core.messages import AIMessageChunk, BaseMessage

from tokenweir.serving.log.events import Envelope
from tokenweir.serving.running.surrogates import Halves, well_formed

__all__ = ["TokenEncoder", "encode", "encode_text", "explain", "plain", "scrubbed"]

_HEAD = b'{"content":'
_MESSAGES = 64
"""Messages of one run whose envelopes are remembered; a run rarely writes more at once."""
_SHORTEST_SECRET = 8
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
_KEY = re.compile(
    r"(?<![\w-])(?:sk|pk|rk|gsk|xai|hf|ghp|lsv2|AIza)[-_]?[\w*-]{12,}|(?<=Bearer )[^\s'\",]+"
)
# Bounded: otherwise a text with many slashes takes quadratic time, and blocks the server.
_PATH = re.compile(r"(?<![\w:/.])(?:/[\w.@+ -]{1,100}){2,32}\.\w+|(?<!\w)[A-Za-z]:\\[^\s'\":]+")
_LONGEST_MESSAGE = 10_000
"""The longest error message, in characters; some errors quote their whole input."""


def encode(value: Any) -> bytes:
    """A value as JSON in UTF-8. Types that JSON lacks are converted to a description."""
    try:
        return _ENCODER.encode(value)
    except Exception:  # noqa: BLE001 - tuples as keys, halves of surrogates, recursion: the slow way
        return json.dumps(_plain(value, 0), separators=(",", ":")).encode()


def encode_text(text: str) -> bytes:
    """A token's text as JSON. Raises UnicodeEncodeError if it has half of a surrogate pair."""
    return _ENCODER.encode(text)


def plain(value: Any) -> Any:
    """A value encoded as JSON and decoded again."""
    return msgspec.json.decode(encode(value))


class TokenEncoder:
    """Encodes the ``[chunk, metadata]`` pairs of one run, split into a text and its envelope."""

    def __init__(self, **more: Any) -> None:
        """``more`` is added to the metadata of each chunk."""
        self._more = more
        self._known: dict[tuple[str, Any], tuple[Any, Any, Envelope]] = {}
        self._written: tuple[Any, bytes] = (None, b"")
        self._halves: dict[tuple[str, Any], Halves] = {}
        """By kind and message id: the messages that wait for the other half of a surrogate pair."""

    def encode(self, kind: str, chunk: BaseMessage, metadata: Any) -> tuple[bytes, Envelope | None]:
        """The body and envelope of a token's event; no envelope if it is more than text."""
        if self._halves and (kind, chunk.id) in self._halves:
            chunk = self._joined(kind, chunk)
        try:
            return self._encode(kind, chunk, metadata)
        except UnicodeEncodeError:
            chunk = self._joined(kind, chunk)
            return b"[%s,%s]" % (encode(_fields(chunk)), self._metadata(metadata)), None

    def _encode(
        self, kind: str, chunk: BaseMessage, metadata: Any
    ) -> tuple[bytes, Envelope | None]:
        if type(chunk) is not AIMessageChunk or type(chunk.content) is not str or _carries(chunk):
            return b"[%s,%s]" % (_message(chunk), self._metadata(metadata)), None
        known = self._known.get((kind, chunk.id))
        about = chunk.response_metadata
        if known is None or known[0] is not metadata or known[1] != about:
            if about.get("finish_reason") is not None:
                return b"[%s,%s]" % (_message(chunk), self._metadata(metadata)), None
            if len(self._known) >= _MESSAGES:
                self._known.clear()
            empty = chunk.model_copy(update={"content": ""})
            rest = _message(empty).removeprefix(_HEAD + b'""')
            tail = b"%s,%s]" % (rest, self._metadata(metadata))
            known = self._known[kind, chunk.id] = (metadata, about, Envelope(b"[" + _HEAD, tail))
        return encode_text(chunk.content), known[2]

    def _joined(self, kind: str, chunk: BaseMessage) -> BaseMessage:
        """A copy of a chunk without halves of surrogate pairs.

        A half at the end of a text waits for the message's next chunk. Until that comes, the
        message has no envelope, so its next chunk takes this path, too.
        """
        if not isinstance(chunk, AIMessageChunk):
            return chunk
        place = (kind, chunk.id)
        halves = self._halves.pop(place, None) or Halves()
        over = chunk.chunk_position == "last" or bool(chunk.response_metadata.get("finish_reason"))
        update: dict[str, Any] = {}
        if isinstance(text := chunk.content, str):
            update["content"] = halves.joined("content", text, last=over)
        more = chunk.additional_kwargs
        if isinstance(said := more.get("reasoning_content", ""), str):
            said = halves.joined("reasoning", said, last=over or bool(chunk.content))
            update["additional_kwargs"] = {**more, "reasoning_content": said} if said else more
        if halves:
            self._halves[place] = halves
            self._known.pop(place, None)
        return chunk.model_copy(update=update)

    def envelope(self, kind: str, message_id: str) -> Envelope | None:
        """The envelope of a message's last text chunk; None if it was forgotten."""
        known = self._known.get((kind, message_id))
        return None if known is None else known[2]

    def _metadata(self, metadata: Any) -> bytes:
        before, written = self._written
        if before is not metadata:
            more = {**metadata, **self._more} if isinstance(metadata, dict) else metadata
            written = encode(more)
            self._written = (metadata, written)
        return written


def _carries(chunk: AIMessageChunk) -> Any:
    """Whether a chunk has more than text."""
    return (
        chunk.tool_call_chunks
        or chunk.additional_kwargs
        or chunk.usage_metadata
        or chunk.chunk_position
        or chunk.tool_calls
        or chunk.invalid_tool_calls
        or chunk.name
    )


def explain(error: BaseException) -> dict[str, str]:
    """An error for clients: name and message, without stack, folders, keys or cause."""
    try:
        message = well_formed(str(error))
    except Exception:  # noqa: BLE001 - the run must end even if the error's own __str__ fails
        message = ""
    if len(message) > _LONGEST_MESSAGE:
        message = scrubbed(message[: 2 * _LONGEST_MESSAGE])[:_LONGEST_MESSAGE] + "..."
    else:
        message = scrubbed(message)
    return {"error": well_formed(type(error).__name__), "message": message}


def scrubbed(text: str) -> str:
    """A text with keys and this process's secrets masked, and paths cut to file names."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.search(name):
            text = text.replace(value, "***")
    text = _KEY.sub("***", text)
    return _PATH.sub(lambda found: found[0].replace("\\", "/").rpartition("/")[2], text)


def _message(message: BaseMessage) -> bytes:
    """A message as JSON. Raises UnicodeEncodeError if a chunk has half of a surrogate pair."""
    try:
        return _ENCODER.encode(_fields(message))
    except Exception as error:
        if isinstance(error, UnicodeEncodeError) and isinstance(message, AIMessageChunk):
            raise
        return encode(_fields(message))


def _fields(message: BaseMessage) -> Any:
    if type(message) is not AIMessageChunk:
        return message
    return {
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


def _describe(value: Any) -> Any:
    """Convert a value that JSON lacks, one step towards types that JSON has. Never raises."""
    try:
        return _described(value)
    except Exception:  # noqa: BLE001 - a value's methods may raise anything
        return f"<{type(value).__qualname__}>"


def _described(value: Any) -> Any:
    kinds: tuple[Any, ...] = (str, int, float, dict)
    for kind in kinds:  # subclasses of these, such as LangChain's message.text
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if hasattr(value, "_asdict"):
        return value._asdict()
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, BaseException):
        return explain(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if hasattr(value, "tolist"):  # an array
        return value.tolist()
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return str(value)


_ENCODER = msgspec.json.Encoder(enc_hook=_describe)


def _plain(value: Any, depth: int) -> Any:
    if depth > 100:
        return "..."
    if value is None or isinstance(value, (str, int, float, bool)):
        if isinstance(value, float) and value - value != 0:
            return None  # NaN and infinity are not JSON
        return well_formed(value) if isinstance(value, str) else value
    if isinstance(value, dict):
        return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) and not hasattr(value, "_asdict"):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "replace")
    return _plain(_describe(value), depth + 1)


def _key(key: Any) -> str:
    try:
        return well_formed(str(key))
    except Exception:  # noqa: BLE001 - as in _describe
        return f"<{type(key).__qualname__}>"
