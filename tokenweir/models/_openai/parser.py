"""Events of OpenAI's chat protocol, decoded no further than they must be. No I/O.

Nearly every event of an answer is one piece of text, or one piece of a tool call's arguments. Those
are told apart here; any other event is handed on as the dict that it is, for LangChain to convert.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

__all__ = ["Batch", "EventError", "Logprobs", "ToolPieces", "read_events", "weigh"]


class Logprobs(NamedTuple):
    """A piece of text with its log probabilities."""

    text: str
    logprobs: dict[str, Any]


class ToolPieces(NamedTuple):
    """Pieces of tool calls: ``(index, id, name, arguments)`` each."""

    pieces: list[tuple[int, str | None, str | None, str | None]]


class EventError(Exception):
    """An error that came as an event; ``body`` is what it said."""

    def __init__(self, message: str, body: object) -> None:
        super().__init__(message)
        self.message = message
        self.body = body


class Batch:
    """The events that arrived together.

    Attributes:
        items: What they hold, in order: text as ``str``; ``Logprobs``; ``ToolPieces``; or the
            whole event as a dict.
        chunks: How many of them hold something.
        characters: How much text they hold.
        ended: Whether one of them says that the answer is over.
        done: Whether the stream itself is over.
        error: The error that came after them, if one did.
        plain: Whether all of them are pieces of an answer, and the stream goes on.
    """

    __slots__ = ("characters", "chunks", "done", "ended", "error", "items", "plain")

    def __init__(self) -> None:
        self.items: list[str | Logprobs | ToolPieces | dict[str, Any]] = []
        self.chunks = 0
        self.characters = 0
        self.ended = False
        self.done = False
        self.error: Exception | None = None
        self.plain = True


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int
    function: _Function
    id: str | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    role: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    id: Any = None


class _TopLogprob(msgspec.Struct, forbid_unknown_fields=True):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Logprob(msgspec.Struct, forbid_unknown_fields=True):
    token: str
    logprob: float
    top_logprobs: list[_TopLogprob]
    bytes: list[int] | None = None


class _Logprobs(msgspec.Struct, forbid_unknown_fields=True):
    content: list[_Logprob] | None = None
    refusal: None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice]
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode


def read_events(events: list[bytes]) -> Batch:
    """The events of a stream, by the data of each, up to the first error or the end."""
    batch = Batch()
    items = batch.items
    for data in events:
        if data[:6] == b"[DONE]":
            batch.done = batch.ended = True
            batch.plain = False
            break
        try:
            item = _plain(_decode(data))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            item = None
        if type(item) is str:
            items.append(item)
            if item:
                batch.chunks += 1
                batch.characters += len(item)
        elif item is not None:
            items.append(item)
            batch.chunks += 1
            if type(item) is Logprobs:
                batch.characters += len(item.text)
        elif not _read_whole(data, batch):
            break
    return batch


def _read_whole(data: bytes, batch: Batch) -> bool:
    """Read an unusual event; False if it is an error."""
    batch.plain = False
    try:
        event = json.loads(data)
        if not isinstance(event, dict):
            # A string would be taken for text. The openai SDK stumbles over these in this way.
            raise AttributeError(f"an event is no JSON object: {data[:80]!r}")
        if event.get("error"):
            batch.error = _said(event["error"])
            return False
        characters, ended = weigh(event)
    except Exception as error:  # noqa: BLE001 - after what came before it in the batch
        batch.error = error
        return False
    batch.ended = batch.ended or ended
    batch.items.append(event)
    if characters is not None:
        batch.chunks += 1
        batch.characters += characters
    return True


def weigh(event: Any) -> tuple[int | None, bool]:
    """The characters in an event (0 for what is no text, None if it is empty), and whether it ends.

    An event of the chat or the completions protocol, as a dict or as the openai SDK's object. Of
    other protocols nothing is known: each event counts, and each may be the last.
    """
    as_dict = isinstance(event, Mapping)
    choices = event.get("choices") if as_dict else getattr(event, "choices", None)
    if choices is None:
        return 0, True
    if not choices:
        usage = event.get("usage") if as_dict else getattr(event, "usage", None)
        return None, bool(usage)
    choice = choices[0]
    if as_dict:
        delta, text, reason = choice.get("delta"), choice.get("text"), choice.get("finish_reason")
    else:
        delta, reason = getattr(choice, "delta", None), choice.finish_reason
        text = getattr(choice, "text", None)
    if delta is not None:
        text = delta.get("content") if as_dict else delta.content
        if not text and _holds_more(delta):
            return 0, bool(reason)
    return (len(text) if text else None), bool(reason)


def _holds_more(delta: Any) -> bool:
    """Whether a delta without text holds something else: a tool call, reasoning, a refusal."""
    fields = delta if isinstance(delta, Mapping) else delta.model_dump()
    return any(value for name, value in fields.items() if name not in ("role", "content"))


def _plain(event: _Event) -> str | Logprobs | ToolPieces | None:
    """What a usual event holds; None for an unusual one."""
    if event.usage is not None or event.error or len(event.choices) != 1:
        return None
    choice = event.choices[0]
    delta = choice.delta
    if (
        choice.finish_reason
        or delta.function_call is not None
        or delta.reasoning_content
        or delta.reasoning
        or delta.id is not None
        or (delta.role and delta.role != "assistant")
    ):
        return None
    if delta.tool_calls:
        if delta.content or choice.logprobs is not None:
            return None
        return ToolPieces(
            [
                (call.index, call.id, call.function.name, call.function.arguments)
                for call in delta.tool_calls
            ]
        )
    text = delta.content or ""
    if choice.logprobs is None:
        return text
    return Logprobs(text, msgspec.to_builtins(choice.logprobs))


def _said(error: Any) -> EventError:
    message = error.get("message") if isinstance(error, Mapping) else None
    if not message or not isinstance(message, str):
        message = "An error occurred during streaming"
    return EventError(message, error)
