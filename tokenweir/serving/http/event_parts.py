"""The parts of a streamed response that are made of a run's events, pulled or pushed. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from tokenweir.serving.log.events import Event, EventReader, Taker

__all__ = ["EventParts"]


class EventParts:
    """Encodes events as they come: for whoever iterates, and for whoever has them pushed.

    Args:
        events: What to encode; closed with this.
        encode: Makes bytes of events, b"" of those that the client is not told. It may keep state:
            it is given every event once, in order.
    """

    def __init__(self, events: EventReader, encode: Callable[[list[Event]], bytes]) -> None:
        self._events = events
        self._encode = encode
        self._taker: Taker[bytes] | None = None

    def __aiter__(self) -> EventParts:
        return self

    async def __anext__(self) -> bytes:
        """What has come since the last time, as one part; never empty."""
        while True:
            if part := self._encode(await self._events.__anext__()):
                return part

    async def aclose(self) -> None:
        self._taker = None
        await self._events.aclose()

    def push(self, taker: Taker[bytes]) -> None:
        """Hand parts to a taker while ``__anext__`` waits, as a reader of events does."""
        self._taker = taker
        self._events.push(self)

    # As the taker of events

    @property
    def ready(self) -> bool:
        return self._taker is not None and self._taker.ready

    def take(self, part: list[Event]) -> None:
        if self._taker is not None and (written := self._encode(part)):
            self._taker.take(written)
