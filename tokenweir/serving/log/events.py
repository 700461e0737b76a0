"""The record of a run: events with increasing ids, appended once and read from any id.

The interface; its homes are in ``memory.py`` and ``sqlite.py``. What the events mean is the
runs' matter, how they look on a wire the protocols'.
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
"""The kind of a record's last event. Its data says how the run ended, and when: ``{"status":
"success", "ended_at": ...}``, or ``error``, ``interrupted``, ``timeout``; with ``"stopped": true``
if somebody asked for that."""


PAGE = 256
"""The most events that a reader is given at once."""

_PAGE_BYTES = 1 << 20
"""And the most bytes of data, if it is more than one event. Together they bound what is written for
a reader at once: tokens share their envelopes here, and not in what is written."""

_ALL = 1 << 62
"""A greater id than any run has."""


class Envelope:
    """What the tokens of one message have in common, which is all but their text.

    It is kept once, and each token is kept as its text alone.

    Attributes:
        head: What comes before a text in an event's data: up to ``"content":``.
        tail: What comes after it: the rest of the message, and its metadata.
        id: The id of the first event that has it, which names it in its run; 0 before that.
    """

    __slots__ = ("_value", "head", "id", "tail")

    def __init__(self, head: bytes, tail: bytes, id: int = 0) -> None:
        self.head = head
        self.tail = tail
        self.id = id
        self._value: Any = None

    def around(self, text: bytes) -> bytes:
        """The data of a token, whose text is given as JSON."""
        return b"".join((self.head, text, self.tail))

    def value_of(self, text: bytes) -> list[Any]:
        """``[message, metadata]`` of a token; tokens share the metadata, decoded once."""
        if self._value is None:
            self._value = msgspec.json.decode(self.around(b'""'))
        message, metadata = self._value
        return [{**message, "content": msgspec.json.decode(text)}, metadata]


class Event(msgspec.Struct, gc=False, eq=False):
    """One event of a run. All readers of a run share its events: treat them as read-only.

    Attributes:
        id: Greater than the id of every event before it, from 1; there may be gaps.
        kind: What ``data`` is, followed by ``|`` and the namespace for a subgraph's events
            (``messages|editor:<task id>|child:<task id>``). The kinds of a graph's run:

            - ``metadata``: ``{"run_id", "attempt"}``, the first event;
            - ``messages``: ``[message, metadata]``, a chunk (``type`` ``AIMessageChunk``) or a
              whole message. ``type`` ``remove`` says that all that came under this ``id`` is void;
            - ``custom``: what a node wrote; a token as ``messages`` has it, if it wrote one;
            - ``values``, ``updates``, ``debug``, ``tasks``, ``checkpoints``, ``tools``: as
              LangGraph has them; ``events``: as ``astream_events`` has them;
            - ``error``: ``{"error": name, "message": text}``, fit for clients;
            - ``end``: the last event, see ``END``.
        body: What is kept of it: its data, or a token's text as JSON, with an envelope around it.
        envelope: What the token shares with the others of its message; None for all else.
        part: Of what was added up (``running/compaction.py``) its number, from 1; its id is that of
            the last event that went into the sum. 0 for events as they were recorded.
    """

    # There are many: the garbage collector need not look at them, as they are in no circle.

    id: int
    kind: str
    body: bytes
    envelope: Envelope | None = None
    _value: Any = msgspec.UNSET
    part: int = 0

    @property
    def data(self) -> bytes:
        """A JSON document in UTF-8 on one line."""
        return self.body if self.envelope is None else self.envelope.around(self.body)

    @property
    def size(self) -> int:
        """How many bytes ``data`` has."""
        around = self.envelope
        return len(self.body) + (len(around.head) + len(around.tail) if around is not None else 0)

    @property
    def mode(self) -> str:
        """The kind without the namespace."""
        return self.kind.partition("|")[0]

    @property
    def namespace(self) -> tuple[str, ...]:
        """The path of the subgraph that it comes from; empty for the graph itself."""
        return tuple(self.kind.split("|")[1:])

    @property
    def value(self) -> Any:
        """``data`` decoded; of an event that is no token only once, however many readers ask."""
        if self.envelope is not None:
            return self.envelope.value_of(self.body)
        if self._value is msgspec.UNSET:
            self._value = msgspec.json.decode(self.body)
        return self._value

    @property
    def token(self) -> tuple[Any, dict[str, Any]] | None:
        """The message and the metadata, if it is a token, of ``messages`` or written by hand."""
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
    """An event as a file has it: with the id of its envelope, 0 for none."""

    id: int
    kind: str
    body: bytes
    envelope: int


Scanner = Callable[[Sequence[Event | Kept], Callable[[int], Envelope] | None], None]
"""Takes events in their order; with those that are as a file has them, what finds an envelope by
its id. Called in any thread, and never twice at a time."""


async def scan_so_far(log: EventLog, run_id: str, take: Scanner) -> None:
    """Give all events of a run that are there by now to ``take``, as ``EventLog.scan`` does."""
    await log.scan(run_id, await log.last_id(run_id) or _ALL, take)


def fitting(events: list[Event]) -> list[Event]:
    """Of at most ``PAGE`` events the first, as many as a reader is given at once."""
    size = 0
    for place, event in enumerate(events):
        size += event.size
        if place and size > _PAGE_BYTES:
            return events[:place]
    return events


class Taker(Protocol[Part]):
    """Who is handed what comes for a reader while that one sleeps, so that no task has to wake."""

    @property
    def ready(self) -> bool:
        """Whether it may be handed something now; if not, the reader is woken instead."""
        ...

    def take(self, part: Part) -> None:
        """Take what has come, at once. What it raises is raised at the reader."""
        ...


class EventReader(Protocol):
    """Reads a run's events: those there are, then live ones to the end.

    In lists that ``fitting`` makes, never empty: what has come since the last one.
    """

    def __aiter__(self) -> EventReader: ...

    async def __anext__(self) -> list[Event]: ...

    async def aclose(self) -> None:
        """Read no more, and let go of the taker."""
        ...

    def push(self, taker: Taker[list[Event]]) -> None:
        """From now on hand live events to a taker, while ``__anext__`` waits for them.

        Each event is given once: to the taker, or by ``__anext__``, which wakes for all that is not
        a live event in its turn: a taker that is not ready, the end, a record that is cut off.
        """
        ...


class EventWriter(Protocol):
    """Writes the record of one run, for the one worker that holds the run: a run and an epoch.

    All of it is called in one event loop. As soon as another worker has a writer of the run, under
    a greater epoch, this one is refused: ``append`` and ``saved`` raise LostError, and what had not
    been written is dropped or comes before all that the other one writes, never behind it.

    Attributes:
        kept: The greatest id that earlier writers of the run left; 0 if this is the first. Ids that
            a reader may have seen and that were lost are not given a second time.
    """

    kept: int

    def append(
        self, kind: str, body: bytes, *, envelope: Envelope | None = None, durable: bool = False
    ) -> Event:
        """Put one event behind the others of the run, and return it at once.

        Nothing waits for a disk. With ``durable`` readers see this event, and what is appended
        after it, only when it would survive the process: milliseconds later, where there is a
        disk. The end is not appended here: ``Store.finish`` does it. Raises LostError.
        """
        ...

    @property
    def full(self) -> bool:
        """Whether more waits for the disk than may, so that writers should wait for ``ready``."""
        ...

    async def ready(self) -> None:
        """Wait until it is not full."""
        ...

    async def saved(self) -> None:
        """Wait until all that was appended here before the call would survive the process.

        It may take until a full disk has room again. Raises LostError if the run is another
        worker's meanwhile, StoreError if the store cannot be reached for so long that the run
        should be given back.
        """
        ...


class EventLog(Protocol):
    """Where the events of all runs are kept. All of it is called in one event loop."""

    async def writer(
        self, run_id: str, epoch: int, on_lost: Callable[[], None] | None = None
    ) -> EventWriter:
        """Begin or go on with a run's record, for whoever claimed the run under this epoch.

        A writer of a smaller epoch is refused from now on.

        Args:
            run_id: The run.
            epoch: As ``Store.claim`` gave it.
            on_lost: Called once when this writer turns out to be refused.

        Raises:
            LostError: If there was a writer of a greater epoch.
            StoreError: If the store cannot be reached.
        """
        ...

    def follow(self, run_id: str, after: int = 0) -> EventReader:
        """A reader of the events with ids greater than ``after``.

        It may be as slow as it likes: nothing is kept for it. It ends after the end; or when the
        run is deleted; or when nothing is left to read and the store says that the run is over, or
        does not know it. That no process here writes it means nothing. When the server stops
        (``cut_off``) readers that have not the end get CutOffError: only the end of a run looks
        like one.
        """
        ...

    async def scan(self, run_id: str, upto: int, take: Scanner) -> None:
        """Give all events of a run with ids up to ``upto``, which readers may see, to ``take``.

        Much faster than a reader, as no part of it waits for anybody. Raises StoreError if the
        store cannot be reached.
        """
        ...

    async def newest(self, run_id: str, kind: str) -> Event | None:
        """The last event of a kind that a run has, visible or not yet; None if it has none."""
        ...

    async def last_id(self, run_id: str) -> int:
        """The greatest id that readers of a run in progress may have; 0 if there is none."""
        ...

    def cut_off(self) -> None:
        """Cut off all readers in this process, as the server stops."""
        ...

    @property
    def size(self) -> int:
        """Bytes of data in all records."""
        ...

    @property
    def problem(self) -> str | None:
        """Why nothing can be written just now; None if all is well."""
        ...

    async def tidy(self) -> None:
        """Give the space of what was deleted back, if that is worth it."""
        ...

    async def close(self) -> None:
        """Write what is not written, and cut off all readers."""
        ...
