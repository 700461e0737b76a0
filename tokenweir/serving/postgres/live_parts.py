"""How events look that servers send each other while they are being written: words of bytes.

A part is what one run has said since the part before it. A word carries the parts of many runs, and
each token without what it has in common with the others of its message: that goes once.
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
"""Bytes of one word. NOTIFY takes at most 8,000, and text: it is base64 there."""

_AROUND = 32
"""The most bytes that MessagePack puts around an event, an envelope or a part."""


class SentEnvelope(msgspec.Struct, array_like=True, gc=False):
    """What the tokens of a message have in common; see ``Envelope``."""

    id: int
    head: bytes
    tail: bytes


class LiveEvent(msgspec.Struct, array_like=True, gc=False):
    """An event: with the id of its envelope, 0 for none."""

    id: int
    kind: str
    body: bytes
    envelope: int


class LivePart(msgspec.Struct, array_like=True):
    """Events of one run.

    Attributes:
        before: The id of the event before them. That, and what comes before it, was sent already,
            or is in Postgres.
        envelopes: Of these events, those that were not sent before.
    """

    before: int
    envelopes: list[SentEnvelope]
    events: list[LiveEvent]


RunPart: TypeAlias = "tuple[str, LivePart, int]"
"""A run, a part of it, and how many bytes that takes, about."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, msgspec.Raw]]).decode
_decode_part = msgspec.msgpack.Decoder(LivePart).decode


def weight(event: Event, *, enveloped: bool) -> int:
    """The most bytes that an event takes, with its envelope or without it."""
    around = event.envelope
    size = len(event.kind.encode()) + len(event.body) + _AROUND
    if enveloped and around is not None:
        size += len(around.head) + len(around.tail) + _AROUND
    return size


def pack(parts: Sequence[RunPart]) -> Iterator[bytes]:
    """Parts as few words."""
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
    """Of the runs in a word those that are wanted, with their parts."""
    for run, part in _decode(word):
        if run in wanted:
            yield run, _decode_part(part)
