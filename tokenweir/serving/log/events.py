"""The record of a run: events with increasing ids, appended once and readable from any id.

This is the interface; ``memory.py``, ``sqlite.py`` and ``postgres/log.py`` implement it. The
meaning of events is defined in ``running``, their form on the wire by the protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

__all__ = [
    "END",
    "PAGE",
    "Envelope",
    "Event",
    "EventLog",
    "EventReader",
    "EventWriter",
    "Kept",
    "Scanner",
    "Taker",
    "fitting",
    "scan_so_far",
]

Part = TypeVar("Part", contravariant=True)

END = "end"
"""The kind of a record's last event. Its data say how and when the run ended: ``{"status":
"success", "ended_at": ...}``, or ``error``, ``interrupted``, ``timeout``; with ``"stopped": true``
if a client stopped it."""


PAGE = 256
"""The most events that a reader is given at a time."""

_PAGE_BYTES = 1 << 20
"""The most bytes that a reader is given at a time, unless one event has more. Events share their
envelopes in memory but not when written, so both limits bound what is written at a time."""

_ALL = 1 << 62
"""An id greater than that of any event."""


class Envelope:
    """What the tokens of one message have in common: everything but their text.

    It is stored once; each token is stored as its text alone.

    Attributes:
        head: The part of an event's data before its text: up to ``"content":``.
        tail: The part after its text: the rest of the message, and the metadata.
        id: The id of the first event with this envelope, which identifies it in its run; 0 before.
    """

    __slots__ = ("_value", "head", "id", "tail")

    def __init__(self, head: bytes, tail: bytes, id: int = 0) -> None:
        self.head = head
        self.tail = tail
        self.id = id
        self._value: Any = None

    def around(self, text: bytes) -> bytes:
        """The data of a token with this text, which is given as JSON."""
        return b"".join((self.head, text, self.tail))

    def value_of(self, text: bytes) -> list[Any]:
        """``[message, metadata]`` of a token; the metadata are decoded once and shared."""
        if self._value is None:
            self._value = msgspec.json.decode(self.around(b'""'))
        message, metadata = self._value
        return [{**message, "content": msgspec.json.decode(text)}, metadata]


class Event(msgspec.Struct, gc=False, eq=False):
    """One event of a run. All readers of a run share its events: treat them as read-only.

    Attributes:
        id: Greater than the id of every earlier event, from 1; there may be gaps.
        kind: The stream mode of ``data``; for a subgraph's events, with ``|`` and the namespace
            (``messages|editor:<task id>|child:<task id>``). The modes of a graph's run:

            - ``metadata``: ``{"run_id", "attempt"}``, the first event;
            - ``messages``: ``[message, metadata]``, a chunk (``type`` ``AIMessageChunk``) or a
              whole message. The ``type`` ``remove`` retracts all that came under this ``id``;
            - ``custom``: what a node wrote; a token has the same form as in ``messages``;
            - ``values``, ``updates``, ``debug``, ``tasks``, ``checkpoints``, ``tools``: as in
              LangGraph; ``events``: as in ``astream_events``;
            - ``warning``: ``{"message": text}``, if no model call passed the run's filter;
            - ``error``: ``{"error": name, "message": text}``, suitable for clients;
            - ``end``: the last event, see ``END``.
        body: What is stored: the event's data or, if it has an envelope, a token's text as JSON.
        envelope: What the token shares with the others of its message; None for other events.
        part: The number of an event in a compact replay (``running/compaction.py``), from 1; its id
            is that of the last event replayed. 0 for events as they were recorded.
    """

    # There are many, and they are in no cycle, so the garbage collector need not track them.

    id: int
    kind: str
    body: bytes
    envelope: Envelope | None = None
    _value: Any = msgspec.UNSET
    part: int = 0

    @property
    def data(self) -> bytes:
        """The event's data, a JSON document in UTF-8 on one line."""
        return self.body if self.envelope is None else self.envelope.around(self.body)

    @property
    def size(self) -> int:
        """The length of ``data`` in bytes."""
        around = self.envelope
        return len(self.body) + (len(around.head) + len(around.tail) if around is not None else 0)

    @property
    def mode(self) -> str:
        """The kind without the namespace."""
        return self.kind.partition("|")[0]

    @property
    def namespace(self) -> tuple[str, ...]:
        """The path of the subgraph that it comes from; empty for the root graph."""
        return tuple(self.kind.split("|")[1:])

    @property
    def value(self) -> Any:
        """``data`` decoded. The value is cached, except for tokens with an envelope."""
        if self.envelope is not None:
            return self.envelope.value_of(self.body)
        if self._value is msgspec.UNSET:
            self._value = msgspec.json.decode(self.body)
        return self._value

    @property
    def token(self) -> tuple[Any, dict[str, Any]] | None:
        """The message and metadata, if this is a token, from ``messages`` or written by a node."""
        if self.mode not in ("messages", "custom"):
            return None
        value = self.value
        if isinstance(value, list) and len(value) == 2 and isinstance(value[1], dict):
            return value[0], value[1]
        return None

    def __repr__(self) -> str:
        return f"Event({self.id}, {self.kind!r}, {self.data!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return (self.id, self.kind, self.data) == (other.id, other.kind, other.data)

    __hash__ = None  # type: ignore[assignment]


class Kept(msgspec.Struct, array_like=True, gc=False):
    """An event as stored in a file: with the id of its envelope; 0 for none."""

    id: int
    kind: str
    body: bytes
    envelope: int


Scanner = Callable[[Sequence[Event | Kept], Callable[[int], Envelope] | None], None]
"""Takes events in order; for stored events, also what finds an envelope by its id. It may be called
in any thread, but never in two at a time."""


async def scan_so_far(log: EventLog, run_id: str, take: Scanner) -> None:
    """Pass all events that a run has so far to ``take``, as ``EventLog.scan`` does."""
    await log.scan(run_id, await log.last_id(run_id) or _ALL, take)


def fitting(events: list[Event]) -> list[Event]:
    """As many of at most ``PAGE`` events as a reader may be given at a time."""
    size = 0
    for place, event in enumerate(events):
        size += event.size
        if place and size > _PAGE_BYTES:
            return events[:place]
    return events


class Taker(Protocol[Part]):
    """Takes events directly while their reader sleeps, so that no task has to wake up."""

    @property
    def ready(self) -> bool:
        """Whether it can take events now; if not, the reader is woken instead."""
        ...

    def take(self, part: Part) -> None:
        """Take events, without waiting. What it raises is raised in the reader."""
        ...


class EventReader(Protocol):
    """Reads a run's events: those so far, then live ones until the end.

    It yields lists as ``fitting`` makes them, never empty: the events since the last list.
    """

    def __aiter__(self) -> EventReader: ...

    async def __anext__(self) -> list[Event]: ...

    async def aclose(self) -> None:
        """Stop reading, and drop the taker."""
        ...

    def push(self, taker: Taker[list[Event]]) -> None:
        """From now on, pass live events to a taker while ``__anext__`` waits for them.

        Each event is given once: to the taker, or by ``__anext__``. ``__anext__`` wakes only if
        the taker is not ready, at the end, or if the record is cut off.
        """
        ...


class EventWriter(Protocol):
    """Writes the record of one run, for the worker that holds the run under an epoch.

    All methods are called in one event loop. When another worker has a writer of the run, under a
    greater epoch, this one is refused: ``append`` and ``saved`` raise LostError. Its unwritten
    events are dropped, or come before all events of the other writer, never after them.

    Attributes:
        kept: The greatest id that earlier writers of the run left; 0 if this is the first. Ids of
            lost events that a reader may have seen are not used again.
    """

    kept: int

    def append(
        self, kind: str, body: bytes, *, envelope: Envelope | None = None, durable: bool = False
    ) -> Event:
        """Append an event to the run, and return it at once, without waiting for a disk.

        With ``durable``, readers see this event and later ones only once it would survive a crash;
        with a disk, that takes milliseconds. The end is not appended here but by ``Store.finish``.
        Raises LostError.
        """
        ...

    @property
    def full(self) -> bool:
        """Whether so much waits for the disk that writers should wait for ``ready``."""
        ...

    async def ready(self) -> None:
        """Wait until it is not full."""
        ...

    async def saved(self) -> None:
        """Wait until all that was appended here before the call would survive a crash.

        This may take until a full disk has space again. Raises LostError if another worker has
        claimed the run; StoreError if the store has been unreachable for so long that the run
        should be given back.
        """
        ...


class EventLog(Protocol):
    """Stores the events of all runs. All methods are called in one event loop."""

    async def writer(
        self, run_id: str, epoch: int, on_lost: Callable[[], None] | None = None
    ) -> EventWriter:
        """Start or continue a run's record, for the worker that claimed the run under this epoch.

        Writers of smaller epochs are refused from now on.

        Args:
            run_id: The run.
            epoch: The epoch from ``Store.claim``.
            on_lost: Called once when this writer is found to be refused.

        Raises:
            LostError: If the run has had a writer of this epoch or a greater one.
            StoreError: If the store cannot be reached.
        """
        ...

    def follow(self, run_id: str, after: int = 0) -> EventReader:
        """A reader of the events with ids greater than ``after``.

        It may be as slow as it likes, as nothing is buffered for it. It ends after the end event;
        if the run is deleted; or if all is read and the store says that the run has ended or does
        not exist. It does not end only because no process here writes the run. When the server
        stops (``cut_off``), readers without the end event get CutOffError, so that no client takes
        this for the end of the run.
        """
        ...

    async def scan(self, run_id: str, upto: int, take: Scanner) -> None:
        """Pass all events of a run that readers may see, up to the id ``upto``, to ``take``.

        This is much faster than a reader, as it never waits for a consumer. Raises StoreError if
        the store cannot be reached.
        """
        ...

    async def newest(self, run_id: str, kind: str) -> Event | None:
        """The last event of this kind in a run, visible or not; None if there is none."""
        ...

    async def last_id(self, run_id: str) -> int:
        """The greatest id that readers of an unfinished run may see; 0 if there is none."""
        ...

    def cut_off(self) -> None:
        """Cut off all readers in this process, as the server stops."""
        ...

    @property
    def size(self) -> int:
        """The size of the data of all records, in bytes."""
        ...

    @property
    def problem(self) -> str | None:
        """Why nothing can be written at the moment; None if it can."""
        ...

    async def tidy(self) -> None:
        """Return the space of deleted records to the disk, if it is worth the work."""
        ...

    async def close(self) -> None:
        """Write what is not written yet, and cut off all readers."""
        ...
