"""Writes a run's events with an encoder of tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from tokenweir.encoders.parts import Part, Parts
from tokenweir.serving.log.events import Envelope, Event, EventLog
from tokenweir.serving.running.records import Run
from tokenweir.streaming.filters import Filter

__all__ = ["EventTokens", "void_in"]

_EMPTY = b'""'


class EventTokens:
    """Passes the tokens among a run's events to an encoder, and other events to ``other``.

    Args:
        parts: The encoder.
        other: Writes events that are not tokens.
        only: The filter that tokens must pass.
        void: The ids of messages known to be retracted; they are left out.
    """

    def __init__(
        self,
        parts: Parts,
        other: Callable[[Event], bytes],
        only: Filter | None = None,
        void: Collection[str] = (),
    ) -> None:
        self._parts = parts
        self._other = other
        self._only = only
        self._void = void
        self._looks_at_chunks = only is not None and only.looks_at_chunks
        self._writing: dict[Envelope, Part | None] = {}
        """The part that texts in an envelope belong to; None if they do not pass the filter."""

    def encode(self, events: list[Event]) -> bytes:
        """The bytes for these events; b"" if there are none."""
        written: list[bytes] = []
        for event in events:
            envelope = event.envelope
            if envelope is None or envelope not in self._writing:
                written.append(self._feed(event))
                continue
            part = self._writing[envelope]
            if part is None or event.body == _EMPTY:
                continue
            if part.open:
                # The same as the encoder would write, without decoding each text.
                part.texts.append(event.body)
                written += (part.head, event.body, part.tail)
            else:
                written.append(self._feed(event))
        return b"".join(written)

    def _feed(self, event: Event) -> bytes:
        token = event.token
        if token is None:
            return self._other(event)
        message, metadata = token
        if self._void and isinstance(message, Mapping) and message.get("id") in self._void:
            return b""
        # A retraction does not say which call the message came from, so the filter cannot judge
        # it. Tool results carry no tags.
        passes = self._only is None or (
            isinstance(message, Mapping) and message.get("type") in ("remove", "tool")
        )
        if not passes and self._only is not None:
            passes = self._only(metadata, message)
        written = self._parts.feed(message, metadata, event.namespace) if passes else b""
        if event.envelope is not None and not self._looks_at_chunks:
            part = self._parts.writing(message, metadata) if passes else None
            if part is not None or not passes:
                self._writing[event.envelope] = part
        return written


async def void_in(run: Run, log: EventLog) -> set[str]:
    """The ids of the messages of a run that have been retracted so far."""
    last = None if run.final else await log.last_id(run.id)
    found: set[str] = set()
    if last == 0:
        return found
    reader = log.follow(run.id)
    try:
        async for events in reader:
            for event in events:
                if event.envelope is None and b'"type":"remove"' in event.body:
                    token = event.token
                    if token is not None and token[0].get("type") == "remove":
                        found.add(token[0]["id"])
            if last is not None and events[-1].id >= last:
                break
    finally:
        await reader.aclose()
    return found
