"""How events are stored on disk: many of one run in a block, as a row costs far more than an event.

The envelope that the tokens of a message share is stored once, in a row of its own. The
implementations differ only in their tables.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

import msgspec

from tokenweir.serving.log.events import Envelope, Event, Kept, Scanner
from tokenweir.serving.log.tail import Tail

__all__ = ["Stored", "pack", "scan", "scan_blocks", "unpack", "weight"]

Stored: TypeAlias = "tuple[int, str, bytes, int]"
"""An event: its id, kind and body, and the id of its envelope; 0 for none."""

_encode = msgspec.msgpack.Encoder().encode
_kept = msgspec.msgpack.Decoder(list[Kept]).decode

unpack = msgspec.msgpack.Decoder(list[tuple[int, str, bytes, int]]).decode
"""Decode the events of a block."""


def pack(events: Sequence[Event]) -> bytes:
    """Encode events as a block."""
    return _encode([_stored(event) for event in events])


def _stored(event: Event) -> Stored:
    envelope = event.envelope
    return event.id, event.kind, event.body, envelope.id if envelope is not None else 0


def weight(event: Event) -> int:
    """The bytes that an event adds to its record; its envelope counts with its first event."""
    envelope = event.envelope
    if envelope is None or envelope.id != event.id:
        return len(event.body)
    return len(event.body) + len(envelope.head) + len(envelope.tail)


def scan_blocks(
    rows: Iterable[tuple[int, bytes]],
    after: int,
    upto: int,
    take: Scanner,
    envelope_of: Callable[[int], Envelope],
) -> int:
    """Pass the events between two ids to ``take``; return the last id reached.

    Args:
        rows: Blocks in order, each with the id of its last event.
        after: The id before the first event.
        upto: The id of the last event.
        take: Called with the events of each block.
        envelope_of: Finds an envelope by its id.
    """
    for last, block in rows:
        kept = _kept(block)
        if kept[0].id <= after or last > upto:
            kept = [each for each in kept if after < each.id <= upto]
        take(kept, envelope_of)
        after = min(last, upto)
        if after == upto:
            break
    return after


async def scan(
    tail_of: Callable[[], Tail | None],
    scan_disk: Callable[[int], Awaitable[int]],
    upto: int,
    take: Scanner,
) -> None:
    """Pass a run's events to ``take``, first from disk, then from memory.

    Args:
        tail_of: Gives the run's tail in memory, if it has one.
        scan_disk: Passes on events on disk after an id; returns the last id reached.
        upto: The id of the last event.
        take: Called with the events.
    """
    after = 0
    while True:
        tail = tail_of()
        if tail is not None and after >= tail.dropped:
            take(tail.between(after, upto), None)
            return
        before, after = after, await scan_disk(after)
        if after in (before, upto):
            return
