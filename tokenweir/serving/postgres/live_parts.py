"""The encoding of events that servers send each other while a run is written.

A part has the events of one run since the part before. A word has the parts of many runs. What the
tokens of a message have in common is sent only once.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import TypeAlias

import msgspec

from tokenweir.serving.log.events import Event

__all__ = [
    "LONGEST",
    "LiveEvent",
    "LivePart",
    "RunPart",
    "SentEnvelope",
    "pack",
    "unpack",
    "weight",
]

LONGEST = 5_800
"""The length of one word in bytes. NOTIFY takes at most 8,000 bytes of text, so it is base64."""

_AROUND = 32
"""The most bytes that MessagePack adds to an event, an envelope or a part."""


class SentEnvelope(msgspec.Struct, array_like=True, gc=False):
    """What the tokens of a message have in common; see ``Envelope``."""

    id: int
    head: bytes
    tail: bytes


class LiveEvent(msgspec.Struct, array_like=True, gc=False):
    """An event, with the id of its envelope; 0 for none."""

    id: int
    kind: str
    body: bytes
    envelope: int


class LivePart(msgspec.Struct, array_like=True):
    """Events of one run.

    Attributes:
        before: The id of the event before them. It and all earlier events were sent already, or
            are in Postgres.
        envelopes: The envelopes of these events that were not sent before.
    """

    before: int
    envelopes: list[SentEnvelope]
    events: list[LiveEvent]


RunPart: TypeAlias = "tuple[str, LivePart, int]"
"""A run, a part of it, and the part's approximate size in bytes."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, msgspec.Raw]]).decode
_decode_part = msgspec.msgpack.Decoder(LivePart).decode


def weight(event: Event, *, enveloped: bool) -> int:
    """An upper bound of an event's size in bytes, with or without its envelope."""
    around = event.envelope
    size = len(event.kind.encode()) + len(event.body) + _AROUND
    if enveloped and around is not None:
        size += len(around.head) + len(around.tail) + _AROUND
    return size


def pack(parts: Sequence[RunPart]) -> Iterator[bytes]:
    """Pack parts into few words."""
    some, size = list[tuple[str, LivePart]](), 0
    for run, part, heavy in parts:
        heavy += len(run) + _AROUND
        if some and size + heavy > LONGEST:
            yield _encode(some)
            some, size = [], 0
        some.append((run, part))
        size += heavy
    if some:
        yield _encode(some)


def unpack(word: bytes, wanted: Container[str]) -> Iterator[tuple[str, LivePart]]:
    """The parts in a word that belong to wanted runs."""
    for run, part in _decode(word):
        if run in wanted:
            yield run, _decode_part(part)
