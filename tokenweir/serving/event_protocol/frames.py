"""Turns the record of a run into events of the protocol, and those into bytes. No I/O.

The events that a record yields do not depend on the reader, so numbers mean the same to all
readers. For a reader that starts in the middle, the earlier events are only taken in.

In a compact replay, each message is sent as one: when it finishes, or, if it is still growing, at
the end of the replay with its text so far. A message that was retracted before then is left out.
All other events keep their places. The last number that a client received therefore tells how
much of the replay it has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tokenweir.serving.event_protocol.message_items import Item, MessageItems
from tokenweir.serving.event_protocol.numbers import (
    COMPACT,
    COMPACT_END,
    FULL,
    STEP,
    event_of,
    first_of,
    seq,
    turn_of,
)
from tokenweir.serving.event_protocol.subgraphs import Subgraphs
from tokenweir.serving.event_protocol.subscription import Subscription
from tokenweir.serving.log.events import END, Envelope, Event, Kept
from tokenweir.serving.messages import Block, Message, message_in
from tokenweir.serving.running.encoding import encode
from tokenweir.serving.running.records import Run

__all__ = ["RunFrames", "as_sse"]

_Around = tuple[Callable[[bytes], None], bytes, bytes]
"""What takes in a token's text, and the bytes before and after it; b"" if it is not sent."""

_DOCUMENT = b'%s%d","seq":%d%s%s%s%s'
_TOKEN = b"event: messages\nid: %d\ndata: " + _DOCUMENT + b"\n\n"

_INTERRUPT = "__interrupt__"


def as_sse(method: str, number: int, document: bytes) -> bytes:
    """Write an event as a server-sent event."""
    return b"event: %s\nid: %d\ndata: %s\n\n" % (method.encode(), number, document)


class RunFrames:
    """Writes the events of one run for one reader.

    Args:
        run: The run; its turn must be set.
        wanted: The reader's subscription.
        since: The last number that the reader has; events up to it are only taken in.
        frame: Writes an event from its method, its number and its JSON.
        on_end: Called with the run's id when the reader is sent the end of the run.
        compact: Whether to replay compactly, if the reader has nothing of the run yet. If
            ``since`` is from a compact replay, the reader gets the rest of it in any case.

    Attributes:
        upto: The id up to which events must be taken in; 0 for none, None for all.
        last: The id of the last event taken in or encoded.
    """

    def __init__(
        self,
        run: Run,
        wanted: Subscription,
        since: int = 0,
        frame: Callable[[str, int, bytes], bytes] = as_sse,
        on_end: Callable[[str], None] = lambda run_id: None,
        *,
        compact: bool = False,
    ) -> None:
        self._run = run
        self._wanted = wanted
        self._since = since
        self._frame = frame
        self._on_end = on_end
        self.subgraphs = Subgraphs()
        self._questions: dict[str, tuple[tuple[str, ...], Any]] = {}
        self._error: str | None = None
        self._held: Event | None = None
        """Values that wait for the next event: their checkpoint follows them, but is sent first."""
        self._checkpointed = "checkpoints" in run.request.modes
        self._tokens: dict[Envelope | int | None, _Around] = {}
        """How to write further tokens, by envelope or by its id."""
        self.last = 0
        self._taken: list[bytes] = []
        self._over = False
        """Whether an end was written that ``on_end`` has not been called for."""
        self._has = 0
        """The id of the last event of this run that the reader has, at least in part."""
        if since and turn_of(since) == run.turn:
            self._has, compact = event_of(since), first_of(since) != FULL
        self.upto = None if compact and first_of(since) != COMPACT_END else self._has
        # When a message ends, other open ones may be renamed: forget how their tokens are written.
        self._messages = MessageItems(wanted, self._tokens.clear, compact=compact)
        self._first = seq(run.turn, 0, 0)
        self._begin = b'{"type":"event","event_id":"%s:' % run.id.encode()

    def encode(self, events: list[Event]) -> list[bytes]:
        """The documents to send for these events, one per document."""
        written: list[bytes] = []
        now = _now()
        tokens, since = self._tokens, self._since
        for event in events:
            known = None if self._held is not None else tokens.get(event.envelope)
            if known is not None:
                take, head, tail = known
                take(body := event.body)
                here = self._first + event.id * STEP
                if head and here > since and body != b'""':
                    sent = (self._begin, here, here, head, body, tail, now)
                    if self._frame is as_sse:
                        written.append(_TOKEN % (here, *sent))
                    else:
                        written.append(self._frame("messages", here, _DOCUMENT % sent))
                continue
            self._feed(event, written, now)
        self.last = events[-1].id
        self._tell_end()
        return written

    @property
    def watermark(self) -> int:
        """All documents from now on have greater numbers; values may wait for their checkpoint."""
        return seq(self._run.turn, self._written + 1, 0) - 1

    @property
    def _written(self) -> int:
        """The id of the last event written."""
        return self.last if self._held is None else self._held.id - 1

    def take(
        self,
        events: Sequence[Event | Kept],
        envelope_of: Callable[[int], Envelope] | None = None,
    ) -> None:
        """Take in events in order, before any call of ``encode``; this is a ``Scanner``."""
        tokens, now = self._tokens, _now()
        for event in events:
            name = event.envelope
            if self._held is None and (known := tokens.get(name)) is not None:
                known[0](event.body)
                continue
            if isinstance(event, Kept):
                assert isinstance(name, int)
                assert envelope_of is not None
                around = envelope_of(name) if name else None
                event = Event(event.id, event.kind, event.body, around)
            self._feed(event, self._taken, now, name or None)
        if events:
            self.last = events[-1].id

    def taken(self) -> list[bytes]:
        """What to send for the events taken in; this ends a compact replay."""
        written, self._taken = self._taken, []
        if self._messages.compact:
            # Values that wait for their checkpoint come after the replay.
            last = max(self._written, self._has)
            self._write(self._messages.end_replay(), last, written, _now(), COMPACT_END)
        self._tell_end()
        return written

    def _tell_end(self) -> None:
        if self._over:
            self._over = False
            self._on_end(self._run.id)

    def _feed(
        self, event: Event, written: list[bytes], now: bytes, name: Envelope | int | None = None
    ) -> None:
        """Write any event.

        Args:
            event: The event.
            written: The list to append documents to.
            now: The time, as the end of a document.
            name: The key of the event's envelope, if that is not the envelope itself.
        """
        held, self._held = self._held, None
        if held is not None:
            if event.mode == "checkpoints" and event.namespace == held.namespace:
                return self._write(
                    [*self._items(event), *self._items(held)], event.id, written, now
                )
            self._write(self._items(held), held.id, written, now)
        if event.mode == "values" and self._checkpointed:
            self._held = event
            return None
        self._write(self._items(event), event.id, written, now)
        if event.envelope is not None and (found := self._messages.text(event)):
            self._tokens[name or event.envelope] = self._around(*found)
        return None

    def _write(
        self, items: Any, number: int, written: list[bytes], now: bytes, first: int | None = None
    ) -> None:
        if first is None:
            first = COMPACT if self._messages.compact else FULL
        for part, (method, namespace, node, data) in enumerate(items):
            here = seq(self._run.turn, number, part, first)
            if here <= self._since:
                continue
            channel = "input" if method == "input.requested" else method
            name = data.get("name") if method == "custom" else None
            if not self._wanted.wants(channel, namespace, name):
                continue
            body = data if isinstance(data, bytes) else encode(data)
            document = b'%s%d","seq":%d,"method":"%s","params":{"namespace":%s%s,"data":%s%s' % (
                self._begin,
                here,
                here,
                method.encode(),
                encode(list(namespace)),
                b"" if node is None else b',"node":' + encode(node),
                body,
                now,
            )
            written.append(self._frame(method, here, document))
            if method == "lifecycle" and not namespace and data["event"] != "running":
                self._over = True

    def _around(self, message: Message, block: Block) -> _Around:
        """The bytes around each token of a block, made once instead of for each token."""
        take = block.pieces.append
        if not self._wanted.wants("messages", message.namespace):
            return take, b"", b""
        node = self._messages.node_of(message)
        head = b',"method":"messages","params":{"namespace":%s%s,"data":' % (
            encode(list(message.namespace)),
            b"" if node is None else b',"node":' + encode(node),
        )
        data = {"event": "content-block-delta", "id": message.id, "index": block.index}
        sample = encode({**data, "delta": {"type": "text-delta", "text": "-"}})
        before, _, after = sample.rpartition(b'"-"')
        return take, head + before, after

    # The protocol's events for one event of the record

    def _items(self, event: Event) -> Iterator[Item]:
        mode, namespace = event.mode, event.namespace
        if mode in ("messages", "custom", "tasks", END):
            yield from self._messages.feed(event)
        if mode == "metadata" and event.value.get("attempt", 1) == 1:
            yield "lifecycle", (), None, self._lifecycle("running")
        elif mode == "values":
            yield "values", namespace, None, self._values(event)
        elif mode == "updates":
            yield from self._updates(event)
        elif mode == "custom" and message_in(event) is None:
            yield "custom", namespace, None, _custom(event.value)
        elif mode == "tools":
            yield "tools", namespace, None, event.value
        elif mode == "checkpoints":
            yield "checkpoints", namespace, None, _checkpoint(event.value)
        elif mode == "tasks":
            self._ask(event.value.get("interrupts"), namespace)
            yield "tasks", namespace, None, event.body
            for place, data in self.subgraphs.feed(namespace, event.value):
                yield "lifecycle", place, None, data
        elif mode == "error":
            self._error = str(event.value.get("message") or event.value.get("error"))
        elif mode == END:
            yield from self._end(event.value)

    def _values(self, event: Event) -> Any:
        if b'"__interrupt__"' not in event.body:
            return event.body
        values = dict(event.value)
        self._ask(values.pop(_INTERRUPT, None), event.namespace)
        return values

    def _updates(self, event: Event) -> Iterator[Item]:
        for node, values in event.value.items() if isinstance(event.value, dict) else ():
            if node == _INTERRUPT:
                self._ask(values, event.namespace)
            else:
                yield "updates", event.namespace, node, {"node": node, "values": values}

    def _ask(self, interrupts: Any, namespace: tuple[str, ...]) -> None:
        for each in interrupts or ():
            if isinstance(each, dict) and isinstance(each.get("id"), str):
                self._questions.setdefault(each["id"], (namespace, each.get("value")))

    def _end(self, ended: dict[str, Any]) -> Iterator[Item]:
        """Send interrupts at the end, as they can be answered only when the run is over."""
        status, stopped = ended["status"], ended.get("stopped", False)
        event = {"success": "completed", "interrupted": "interrupted"}.get(status, "failed")
        for place, data in self.subgraphs.end(event):
            yield "lifecycle", place, None, data
        if status == "interrupted" and not stopped:
            for question, (namespace, value) in self._questions.items():
                asked = {"interrupt_id": question, "payload": value, "value": value}
                yield "input.requested", namespace, None, asked
        yield "lifecycle", (), None, self._lifecycle(event)
        if stopped and event == "interrupted":
            # Python's client takes an interrupted run for a question, and would wait for more.
            yield "lifecycle", (), None, self._lifecycle("completed")

    def _lifecycle(self, event: str) -> dict[str, Any]:
        told = {"event": event, "graph_name": self._run.request.graph, "run_id": self._run.id}
        if event == "failed":
            told["error"] = self._error or "the run failed"
        return told


def _now() -> bytes:
    return b',"timestamp":%d}}' % (time.time() * 1000)


def _custom(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        if value.keys() == {"name", "payload"}:
            return value
        return {"name": value["name"], "payload": value}
    return {"payload": value}


def _checkpoint(value: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint in the protocol's form: its ids, step and source, without the state."""
    about = value.get("metadata") or {}
    told = {"id": _id_in(value.get("config")), "parent_id": _id_in(value.get("parent_config"))}
    told |= {"step": about.get("step"), "source": about.get("source")}
    return {name: each for name, each in told.items() if each is not None}


def _id_in(config: Any) -> str | None:
    found = ((config or {}).get("configurable") or {}).get("checkpoint_id")
    return None if found is None else str(found)
