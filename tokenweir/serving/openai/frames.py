"""Writes a run's events as one answer in OpenAI's chat protocol. No I/O.

``answer.py`` turns records into chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from tokenweir.serving.http.refusals import openai_body
from tokenweir.serving.log.events import END, Envelope, Event
from tokenweir.serving.openai.answer import Answer
from tokenweir.serving.openai.outputs import Outputs
from tokenweir.serving.sse.token_records import record_of
from tokenweir.streaming.filters import tag
from tokenweir.streaming.run_filter import run_filter

__all__ = ["Frames"]

_EMPTY = b'""'
_SAMPLE = b'"%s"' % uuid4().hex.encode()
"""A unique text; in a chunk, the text of each token takes its place."""


class _Around(NamedTuple):
    """The bytes before and after a text, valid while ``call`` is speaking; never if it is None."""

    call: object
    head: bytes
    tail: bytes


class Frames:
    """Writes the events of one run for one client.

    Args:
        answer: Takes the run's records.
        wanted_tag: The tag whose tokens are the answer; None for the tokens of all models.
        usage: Whether the client asked for a chunk with the usage.
        warn: Called at the end if no model call has the tag, with the tags that there were.
    """

    def __init__(
        self,
        answer: Answer,
        wanted_tag: str | None,
        *,
        usage: bool = False,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._answer = answer
        self._only = run_filter(tag(wanted_tag) if wanted_tag else None)
        self._warn = warn
        self._usage = usage
        self._outputs = Outputs()
        self._failed = False
        self._texts: dict[Envelope, _Around | None] = {}

    def begin(self) -> bytes:
        """What to send before all events: the role."""
        return _written(self._answer.start())

    def encode(self, events: list[Event]) -> bytes:
        """The bytes for these events; b"" if there are none. Nothing follows an error."""
        found: list[bytes] = []
        for event in events:
            if self._failed:
                break
            if event.envelope is not None and event.envelope in self._texts:
                found.append(self._text(event, event.envelope))
                continue
            found += map(_written, self.chunks(event))
            if event.envelope is not None:
                self._texts[event.envelope] = self._around(event, event.envelope)
            if event.kind == END and not self._failed:
                if self._usage:
                    found.append(_written(self._answer.usage()))
                found.append(b"data: [DONE]\n\n")
        return b"".join(found)

    def chunks(self, event: Event) -> Iterator[Mapping[str, Any]]:
        """The chunks for an event; one with ``error`` is the last."""
        if event.kind == "error":
            self._failed = True
            value = event.value
            message = f"{value['error']}: {value['message']}"
            yield openai_body(500, message, code=value["error"])
        elif event.mode == "updates":
            self._outputs.feed(event)
        elif event.kind == END:
            if self._only is not None and (warning := self._only.unmatched()):
                self._warn(warning)
            if trouble := self._outputs.trouble(event.value["status"]):
                self._failed = True
                yield openai_body(500, trouble, code="interrupted")
            else:
                yield from self._answer.end("" if self._only is not None else self._outputs.text())
        elif record := record_of(event, self._passes):
            yield from self._answer.feed(record)

    def _text(self, event: Event, envelope: Envelope) -> bytes:
        """Write a token in a known envelope; the bytes around its text are reused."""
        around = self._texts[envelope]
        if around is None or event.body == _EMPTY:
            return b""
        if around.call is not None and around.call is self._answer.speaking:
            return b"".join((around.head, event.body, around.tail))
        written = b"".join(map(_written, self.chunks(event)))
        self._texts[envelope] = self._around(event, envelope)
        return written

    def _around(self, event: Event, envelope: Envelope) -> _Around | None:
        """The bytes around texts in an envelope; None if they do not pass the filter."""
        record = record_of(Event(event.id, event.kind, _SAMPLE, envelope), self._passes)
        if record is None:
            return None
        chunk = self._answer.around(record)
        if chunk is None:
            return _Around(None, b"", b"")
        head, _, tail = _written(chunk).partition(_SAMPLE)
        return _Around(self._answer.speaking, head, tail)

    def _passes(self, metadata: Any, message: Any) -> bool:
        # Tool results carry no tags, but tell which calls the graph has answered itself.
        answered = isinstance(message, Mapping) and message.get("tool_call_id")
        return bool(answered) or self._only is None or self._only(metadata, message)


def _written(chunk: Mapping[str, Any]) -> bytes:
    return b"data: %s\n\n" % msgspec.json.encode(chunk)
