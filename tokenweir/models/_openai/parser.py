"""The parser of streamed chat answers: bytes in, pieces of the answer out. No I/O.

Nearly every event of OpenAI's chat protocol is one piece of text, or one piece of a tool call's
arguments. These are decoded no further than necessary. Every other event is passed on as a dict,
which LangChain converts.

Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

__all__ = [
    "MAX_EVENT",
    "ChatParser",
    "Event",
    "EventDecoder",
    "EventError",
    "EventTooLargeError",
    "Item",
    "Logprobs",
    "ToolPieces",
    "event_of",
    "inspect_event",
]

MAX_EVENT = 16 << 20
"""The most bytes of one event. Real ones have a few hundred."""

_LINE_END = re.compile(rb"\r\n|\r|\n")


class EventTooLargeError(ValueError):
    """Raised when a provider sends an event of more than ``MAX_EVENT`` bytes."""

    def __init__(self) -> None:
        super().__init__(f"the provider sent an event of more than {MAX_EVENT >> 20} MiB")


class EventDecoder:
    """Splits bytes into server-sent events, and keeps the data of each.

    Event names, ids, retry times and comments are skipped. An event without an empty line at its
    end is incomplete, and is dropped.

    Most providers send ``data: {...}`` and an empty line, ended by LF; that form is extracted in
    one step. After anything else, every line is parsed.
    """

    __slots__ = ("_after_cr", "_buffer", "_data", "_data_size", "_line_by_line")

    def __init__(self) -> None:
        self._after_cr = False  # an LF that comes now belongs to the last line's end
        self._buffer = bytearray()
        self._data: list[bytes] = []
        self._data_size = 0
        self._line_by_line = False

    def feed(self, received: bytes) -> list[bytes]:
        """The data of the events that end in these bytes, in order."""
        buffer = self._buffer
        if (
            not buffer
            and received.endswith(b"\n\n")
            and received.find(b"\n") == len(received) - 2
            and received.startswith(b"data: ")
            and not self._line_by_line
            and b"\r" not in received
        ):
            return [received[6:-2]]  # exactly one event, as when tokens arrive one by one
        scanned = max(0, len(buffer) - 1)  # the last byte may begin an empty line
        buffer += received
        found: list[bytes] = []
        if not self._line_by_line:
            if b"\r" not in received:
                found = self._by_empty_line(scanned)
            else:
                self._line_by_line = True
            scanned = 0
        if self._line_by_line:
            found += self._by_line(scanned)
        if len(buffer) + self._data_size > MAX_EVENT:
            raise EventTooLargeError
        return found

    def _by_empty_line(self, scanned: int) -> list[bytes]:
        """Extract events of one line, ended by LF; stop before an event of any other form."""
        buffer = self._buffer
        found: list[bytes] = []
        start = 0
        while (end := buffer.find(b"\n\n", max(start, scanned))) >= 0:
            event = bytes(buffer[start:end])
            if event[:6] != b"data: " or b"\n" in event:
                self._line_by_line = True
                break
            found.append(event[6:])
            start = end + 2
        del buffer[:start]
        return found

    def _by_line(self, scanned: int) -> list[bytes]:
        """Read every line; the buffer has no end of a line before ``scanned``."""
        buffer = self._buffer
        if self._after_cr and buffer:
            self._after_cr = False
            if buffer.startswith(b"\n"):
                del buffer[:1]
        ends = [match.span() for match in _LINE_END.finditer(buffer, scanned)]
        if ends and ends[-1][1] == len(buffer):
            self._after_cr = buffer.endswith(b"\r")
        found: list[bytes] = []
        start = 0
        for end, next_start in ends:
            line = bytes(buffer[start:end])
            start = next_start
            if not line and self._data:
                found.append(b"\n".join(self._data))
                self._data, self._data_size = [], 0
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
                self._data_size += len(value)
        del buffer[:start]
        return found


class Logprobs(NamedTuple):
    """A piece of text with its log probabilities."""

    text: str
    logprobs: dict[str, Any]


class ToolPieces(NamedTuple):
    """Pieces of tool calls: ``(index, id, name, arguments)`` each."""

    pieces: list[tuple[int, str | None, str | None, str | None]]


class Event(NamedTuple):
    """Any other event.

    Attributes:
        data: The event.
        characters: Its characters of text, 0 if it has other content; None if it is empty.
    """

    data: dict[str, Any]
    characters: int | None


Item = str | Logprobs | ToolPieces | Event
"""The content of an event; text is a ``str``."""


class EventError(Exception):
    """An error that came as an event; ``body`` is the provider's data."""

    def __init__(self, message: str, body: object) -> None:
        super().__init__(message)
        self.message = message
        self.body = body


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
    refusal: Any = None
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


class ChatParser:
    """Parses the body of one streamed chat answer.

    Attributes:
        plain: Whether the last bytes held only pieces of an answer that is not over.
        ended: Whether an event said that the answer is over.
        done: Whether the stream is over.
        error: The error that came after the last items, if one did.
    """

    __slots__ = ("_decoder", "done", "ended", "error", "plain")

    def __init__(self) -> None:
        self._decoder = EventDecoder()
        self.plain = True
        self.ended = False
        self.done = False
        self.error: Exception | None = None

    def feed(self, received: bytes) -> list[Item]:
        """The content of the events that end in these bytes, up to the first error or the end."""
        self.plain = True
        items: list[Item] = []
        for data in self._decoder.feed(received):
            if data[:6] == b"[DONE]":
                self.done = self.ended = True
                self.plain = False
                break
            try:
                item = _piece(_decode(data))
            except (msgspec.MsgspecError, ValueError, RecursionError):
                item = None
            if item is not None:
                items.append(item)
            elif not self._read_whole(data, items):
                break
        return items

    def _read_whole(self, data: bytes, items: list[Item]) -> bool:
        """Read an unusual event; False if it is an error."""
        self.plain = False
        try:
            event = json.loads(data)
            if not isinstance(event, dict):
                # A string would be taken for text. The openai SDK fails in this way too.
                raise AttributeError(f"an event is not a JSON object: {data[:80]!r}")
            if event.get("error"):
                self.error = _error_in(event["error"])
                return False
            characters, ended = inspect_event(event)
        except Exception as error:  # noqa: BLE001 - raised after the items before it
            self.error = error
            return False
        self.ended = self.ended or ended
        items.append(Event(event, characters))
        return True


def _piece(event: _Event) -> str | Logprobs | ToolPieces | None:
    """The content of a usual event; None for an unusual one."""
    if event.usage is not None or event.error or len(event.choices) != 1:
        return None
    choice = event.choices[0]
    delta = choice.delta
    if (
        choice.finish_reason
        or delta.function_call is not None
        or delta.refusal
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


def inspect_event(event: Any) -> tuple[int | None, bool]:
    """How many characters an event has, and whether it ends the answer.

    The number is 0 if the event has content other than text, and None if it is empty. The event is
    one of the chat or the completions protocol, as a dict or as the openai SDK's object. For events
    of other protocols, each counts as content, and each may be the last.
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
    """Whether a delta without text has other content: a tool call, reasoning, a refusal."""
    fields = delta if isinstance(delta, Mapping) else delta.model_dump()
    return any(value for name, value in fields.items() if name not in ("role", "content"))


def _error_in(error: Any) -> EventError:
    message = error.get("message") if isinstance(error, Mapping) else None
    if not message or not isinstance(message, str):
        message = "An error occurred during streaming"
    return EventError(message, error)


def event_of(item: Item) -> Any:
    """The event that an item was made from."""
    if isinstance(item, str):
        return {"choices": [{"index": 0, "delta": {"content": item}}]}
    if isinstance(item, Logprobs):
        choice = {"index": 0, "delta": {"content": item.text}, "logprobs": item.logprobs}
        return {"choices": [choice]}
    if isinstance(item, ToolPieces):
        calls = [
            {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
            for index, call_id, name, arguments in item.pieces
        ]
        return {"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}
    return item
