"""Writes a run's events as plain server-sent events. No I/O."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tokenweir.serving.log.events import END, Envelope, Event
from tokenweir.serving.running.records import Run
from tokenweir.serving.sse.token_records import Record, record_of
from tokenweir.streaming.run_filter import RunFilter

__all__ = ["Frames"]

_SAMPLE = b'"-"'
"""A sample text; the text of each token takes its place in a record."""


class Frames:
    """Writes the events of one run for one reader.

    Args:
        run: The run.
        only: The filter that tokens must pass.
        after: Events up to this id are not sent, but looked at for what the end event reports.
        part: If set, ``after`` is the last event of a compact replay (``running/compaction.py``)
            of which the reader has so many parts.
        greeted: Whether ``hello`` has been written; if not, ``encode`` writes it first.
    """

    def __init__(
        self,
        run: Run,
        only: RunFilter | None = None,
        after: int = 0,
        part: int = 0,
        *,
        greeted: bool = False,
    ) -> None:
        self._run = run
        self._only = only
        self._looks_at_chunks = only is not None and only.filter.looks_at_chunks
        self._after = after
        self._part = part
        self._greeted = greeted
        self._over = run.final
        self._failed = False
        self._newest = 0
        self._warning: str | None = None
        self._interrupts: dict[Any, Any] = {}
        self._start = b"id: %s:" % run.id.encode()
        self._tokens: dict[Envelope, tuple[bytes, bytes] | None] = {}

    def hello(self, last: int) -> bytes:
        """The first event of a connection: the run, and how far it has come.

        Args:
            last: The id of the run's newest event; events up to it are a replay.
        """
        run = self._run
        record = {
            "type": "run",
            "run": run.id,
            "graph": run.request.graph,
            "thread": None if run.temporary else run.thread_id,
            "status": run.status,
            "last": last,
        }
        return self._frame(_position(self._after, self._part), "run", record)

    def encode(self, events: list[Event]) -> bytes:
        """The bytes for these events; b"" if there are none.

        ``hello`` comes first. If the run had ended already, it is held back until there is another
        event to send: without one, the client has no reason to reconnect.
        """
        part = b"".join(map(self.feed, events))
        if self._greeted:
            return part
        self._newest = self._newest or events[-1].id
        if self._over and not part:
            return b""
        self._greeted = True
        return self.hello(self._newest) + part

    def feed(self, event: Event) -> bytes:
        """An event as bytes; b"" if simple clients do not get it."""
        if event.envelope is not None and not self._looks_at_chunks:
            return self._token(event, event.envelope)
        kind = event.kind
        if event.mode == "tasks":
            self._note_interrupts(event)
        if kind == "error":
            self._failed = True
        if kind == "warning":
            self._warning = event.value["message"]
        # A compact replay has been filtered already. The filter sees known events, too: it has to
        # know whether anything passed.
        record = record_of(event, None if event.part else self._only)
        if self._is_known(event):
            return b""
        position = _position(event.id, event.part)
        if kind == "error":
            return self._frame(position, "error", {"type": "error", "cause": None, **event.value})
        if kind == END:
            # An error was the last event; nothing follows it.
            return b"" if self._failed else self._frame(position, "end", self._end(event))
        if record is None:
            return b""
        name = "token" if record["type"] == "message" else record["type"]
        return self._frame(position, name, record)

    def _is_known(self, event: Event) -> bool:
        return event.part <= self._part if event.part else event.id <= self._after

    def _token(self, event: Event, envelope: Envelope) -> bytes:
        """Write a token like other records, without making the record for each token."""
        try:
            around = self._tokens[envelope]
        except KeyError:
            around = self._tokens[envelope] = self._around(event, envelope)
        if around is None or event.body == b'""' or self._is_known(event):
            return b""
        head, tail = around
        if event.part:
            return b"".join((self._start, _position(event.id, event.part), head, event.body, tail))
        return b"%s%d%s%s%s" % (self._start, event.id, head, event.body, tail)

    def _around(self, event: Event, envelope: Envelope) -> tuple[bytes, bytes] | None:
        record = record_of(Event(event.id, event.kind, _SAMPLE, envelope), self._only)
        if record is None:
            return None
        written = msgspec.json.encode(record)
        head, _, tail = written.partition(_SAMPLE)
        return b"\nevent: token\ndata: " + head, tail + b"\n\n"

    def _frame(self, position: bytes, name: str, record: Record) -> bytes:
        data = msgspec.json.encode(record)
        return b"%s%s\nevent: %s\ndata: %s\n\n" % (self._start, position, name.encode(), data)

    def _note_interrupts(self, event: Event) -> None:
        for interrupt in event.value.get("interrupts") or ():
            self._interrupts[interrupt.get("id")] = {
                "id": interrupt.get("id"),
                "value": interrupt.get("value"),
            }

    def _end(self, event: Event) -> Record:
        run = self._run
        status = event.value["status"]
        at = event.value.get("ended_at") or run.updated_at  # older versions had no ended_at
        began, ended = map(datetime.fromisoformat, (run.created_at, at))
        waits = self._interrupts.values() if status == "interrupted" else ()
        warning = self._warning or (self._only and self._only.unmatched())
        return {
            "type": "end",
            "status": status,
            "thread": None if run.temporary else run.thread_id,
            "seconds": round((ended - began).total_seconds(), 3),
            "interrupts": list(waits),
            **({"warning": warning} if warning else {}),
        }


def _position(id: int, part: int) -> bytes:
    """The event's position in its run: ``7``; ``6.2`` for part 2 of a compact replay up to 7."""
    return b"%d.%d" % (id - 1, part) if part else b"%d" % id
