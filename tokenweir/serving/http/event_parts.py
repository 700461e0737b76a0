"""Encodes a run's events into the parts of a streamed response, pulled or pushed. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from tokenweir.serving.log.events import Event, EventReader, Taker

__all__ = ["EventParts"]


class EventParts:
    """Encodes events as they come, for iteration or for a taker.

    Args:
        events: The events to encode; closed with this.
        encode: Makes bytes of events, b"" for those that the client does not get. It may keep
            state: it is called with every event once, in order.
    """

    def __init__(self, events: EventReader, encode: Callable[[list[Event]], bytes]) -> None:
        self._events = events
        self._encode = encode
        self._taker: Taker[bytes] | None = None

    def __aiter__(self) -> EventParts:
        return self

    async def __anext__(self) -> bytes:
        """The bytes since the last call, as one part; never empty."""
        while True:
            if part := self._encode(await self._events.__anext__()):
                return part

    async def aclose(self) -> None:
        self._taker = None
        await self._events.aclose()

    def push(self, taker: Taker[bytes]) -> None:
        """Pass parts to a taker while ``__anext__`` waits, as readers of events do."""
        self._taker = taker
        self._events.push(self)

    # As the taker of the reader's events

    @property
    def ready(self) -> bool:
        return self._taker is not None and self._taker.ready

    def take(self, part: list[Event]) -> None:
        if self._taker is not None and (written := self._encode(part)):
            self._taker.take(written)
