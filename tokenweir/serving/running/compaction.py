"""A compact replay of a run's events, for late readers. The only I/O is reading the event log.

All chunks of a message become one event, at the place of the first. Retracted messages are left
out, and so are their retractions. Other events are unchanged, in their order.

All events of a replay have the id of the last event that went into it, and ``part`` numbers them.
A replay depends on nothing but the record, so a reader that was cut off in it can name this id and
part when it reconnects, and gets the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from tokenweir.serving.log.events import (
    Envelope,
    Event,
    EventLog,
    EventReader,
    Kept,
    Taker,
    scan_so_far,
)
from tokenweir.serving.running.encoding import encode
from tokenweir.streaming.merge import add_usage, joined_calls

__all__ = ["Compaction", "LateReader"]

Only: TypeAlias = Callable[[Any, Any], bool]
"""Called with the metadata and message of a token; returns whether the token passes."""

_GROWING = frozenset({"text", "reasoning", "thinking"})
"""The fields of a content block whose text comes in pieces."""

_CALL = ("name", "args", "id", "index", "type")

_strings = msgspec.json.Decoder(list[str]).decode


class _Message:
    """The chunks of one message so far.

    Attributes:
        texts: Pieces of its text, as JSON.
        blocks: Its content, if that is a list of blocks.
        thoughts: Pieces of its reasoning.
        calls: Pieces of its tool calls.
        rest: The other fields of its chunks; None if no chunk had more than text.
        envelopes: The envelopes of its texts, or their ids.
    """

    def __init__(self, kind: str, envelope: Envelope | None) -> None:
        self.kind = kind
        self.envelope = envelope
        self.texts: list[bytes] = []
        self.blocks: list[Any] = []
        self.thoughts: list[str] = []
        self.calls: list[list[Any]] = []
        self.rest: dict[str, Any] | None = None
        self.metadata: Any = None
        self.envelopes: list[Any] = []

    def take(self, chunk: dict[str, Any], metadata: Any) -> None:
        """Add a chunk that carries more than text."""
        if isinstance(content := chunk["content"], list):
            for block in content:
                self._add_block(block)
        elif content:
            self.texts.append(encode(content))
        more = chunk.get("additional_kwargs") or {}
        if isinstance(thought := more.get("reasoning_content"), str):
            self.thoughts.append(thought)
            more = {key: value for key, value in more.items() if key != "reasoning_content"}
        if calls := chunk.get("tool_call_chunks"):
            self.calls.append([{key: call.get(key) for key in _CALL} for call in calls])
        if self.rest is None:
            self.metadata = metadata
            self.rest = {**chunk, "additional_kwargs": more, "content": ""}
            return
        rest = self.rest
        rest["additional_kwargs"] = {**rest["additional_kwargs"], **more}
        about = chunk.get("response_metadata") or {}
        rest["response_metadata"] = {**(rest.get("response_metadata") or {}), **about}
        if usage := chunk.get("usage_metadata"):
            known = rest.get("usage_metadata")
            rest["usage_metadata"] = add_usage(known, usage) if known else usage
        rest["chunk_position"] = chunk.get("chunk_position") or rest.get("chunk_position")

    def added_up(self, id: int, part: int) -> Event:
        """The message as one event."""
        text = encode("".join(_strings(b"[%s]" % b",".join(self.texts))))
        if self.rest is None:
            return Event(id, self.kind, text, self.envelope, part=part)
        message = {**self.rest, "content": self.blocks or msgspec.Raw(text)}
        if self.thoughts:
            thought = {"reasoning_content": "".join(self.thoughts)}
            message["additional_kwargs"] = {**message["additional_kwargs"], **thought}
        if self.calls:
            message["tool_call_chunks"] = joined_calls(self.calls)
            message |= {"tool_calls": [], "invalid_tool_calls": []}
        return Event(id, self.kind, msgspec.json.encode([message, self.metadata]), part=part)

    def _add_block(self, block: Any) -> None:
        """Add a content block, or append to the last one if it continues that one's text."""
        last = self.blocks[-1] if self.blocks else None
        if isinstance(block, dict) and isinstance(last, dict):
            before, more = _split(last), _split(block)
            if before[1] == more[1]:
                for key, text in more[0].items():
                    last[key] = before[0].get(key, "") + text
                return
        self.blocks.append(dict(block) if isinstance(block, dict) else block)

    def takes(self, *, blocks: bool) -> bool:
        """Whether a text, or blocks, can be added to the content so far."""
        return not any(each != b'""' for each in self.texts) if blocks else not self.blocks


class Compaction:
    """Compacts the events of one run, starting with the first.

    Args:
        only: Decides which tokens pass; all if None.
    """

    def __init__(self, only: Only | None = None) -> None:
        self.last = 0
        self._only = only
        self._given: list[Event | _Message | None] = []
        self._messages: dict[tuple[str, str], _Message] = {}
        """The messages that grow, by kind and id."""
        self._places: dict[str, list[int]] = {}
        """By message id: the indexes in ``_given`` of its events."""
        self._texts: dict[Any, list[bytes]] = {}
        """By envelope, or its id: the list that texts are appended to."""
        self._void: list[bytes] = []

    def take(
        self,
        events: Sequence[Event | Kept],
        envelope_of: Callable[[int], Envelope] | None = None,
    ) -> None:
        """Take events in order; this is a ``Scanner``."""
        last, add = None, self._void.append
        for event in events:
            envelope = event.envelope
            if not envelope:
                self._other(event)
                last = None
            elif envelope is last or envelope == last:
                add(event.body)
            else:
                if (texts := self._texts.get(envelope)) is None:
                    texts = self._texts[envelope] = self._begun(event, envelope_of)
                last, add = envelope, texts.append
                add(event.body)
        self._void.clear()
        if events:
            self.last = events[-1].id

    def events(self) -> list[Event]:
        """The compact replay; all events have the id of the last event taken."""
        given = [each for each in self._given if each is not None]
        return [
            each.added_up(self.last, part)
            if isinstance(each, _Message)
            else Event(self.last, each.kind, each.body, part=part)
            for part, each in enumerate(given, 1)
        ]

    def _begun(
        self, event: Event | Kept, envelope_of: Callable[[int], Envelope] | None
    ) -> list[bytes]:
        """The list to append an envelope's texts to, at the first event with this envelope."""
        envelope = event.envelope
        if isinstance(envelope, int):
            assert envelope_of is not None
            envelope = envelope_of(envelope)
        assert envelope is not None
        message, metadata = envelope.value_of(b'"-"')
        if self._only is not None and not self._only(metadata, message):
            return self._void
        said = self._message(event.kind, message["id"], envelope)
        said.envelopes.append(event.envelope)
        return said.texts

    def _message(
        self, kind: str, id: str, envelope: Envelope | None, *, blocks: bool = False
    ) -> _Message:
        """The message to add a text or blocks to."""
        message = self._messages.get((kind, id))
        if message is not None and blocks:
            self._leave_texts(message)
        if message is None or not message.takes(blocks=blocks):
            message = self._messages[kind, id] = _Message(kind, envelope)
            self._give(message, id)
        return message

    def _leave_texts(self, message: _Message) -> None:
        for envelope in message.envelopes:
            del self._texts[envelope]
        message.envelopes = []

    def _give(self, what: Event | _Message, id: Any = None) -> None:
        if isinstance(id, str):
            self._places.setdefault(id, []).append(len(self._given))
        self._given.append(what)

    def _other(self, event: Event | Kept) -> None:
        """Take an event that is not only text of a message."""
        kind = event.kind
        whole = Event(event.id, kind, event.body)
        if (token := whole.token) is None:
            return self._give(whole)
        message, metadata = token
        fields = message if isinstance(message, dict) else {}
        name, is_of = fields.get("id"), fields.get("type")
        if is_of == "remove":
            return self._remove(name)
        if self._only is not None and not self._only(metadata, message):
            return None
        content = fields.get("content")
        if is_of == "AIMessageChunk" and isinstance(name, str) and isinstance(content, (str, list)):
            growing = self._message(kind, name, None, blocks=isinstance(content, list))
            return growing.take(fields, metadata)
        return self._give(whole, name)

    def _remove(self, id: Any) -> None:
        """Drop what came of a message, as it was retracted."""
        for place in self._places.pop(id, ()):
            message, self._given[place] = self._given[place], None
            if isinstance(message, _Message):
                self._messages.pop((message.kind, id), None)
                self._leave_texts(message)


class LateReader:
    """Reads a run like ``EventLog.follow``, but replays earlier events compactly, in one batch.

    Args:
        log: The event log.
        run_id: The run.
        only: Decides which tokens of the replay pass.
        upto: The last event of the replay, for a reader that continues one; None for all so far.
    """

    def __init__(
        self, log: EventLog, run_id: str, only: Only | None = None, upto: int | None = None
    ) -> None:
        self._log = log
        self._run = run_id
        self._compaction = Compaction(only)
        self._upto = upto
        self._live: EventReader | None = None
        self._taker: Taker[list[Event]] | None = None

    def __aiter__(self) -> LateReader:
        return self

    async def __anext__(self) -> list[Event]:
        if self._live is None:
            if self._upto:
                await self._log.scan(self._run, self._upto, self._compaction.take)
            else:
                await scan_so_far(self._log, self._run, self._compaction.take)
            self._live = self._log.follow(self._run, self._compaction.last)
            if self._taker is not None:
                self._live.push(self._taker)
            if events := self._compaction.events():
                return events
        return await self._live.__anext__()

    async def aclose(self) -> None:
        self._taker = None
        if self._live is not None:
            await self._live.aclose()

    def push(self, taker: Taker[list[Event]]) -> None:
        self._taker = taker
        if self._live is not None:
            self._live.push(taker)


def _split(block: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """A block's growing texts, and its other fields."""
    growing = {key: block[key] for key in _GROWING & block.keys() if isinstance(block[key], str)}
    return growing, {key: value for key, value in block.items() if key not in growing}
