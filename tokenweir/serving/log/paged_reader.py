"""Reads one run of a log that is stored outside memory: old pages, then the tail of new events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator

from tokenweir.serving.log.events import PAGE, Event, Taker, fitting
from tokenweir.serving.log.tail import Tail, TailReader

__all__ = ["PagedReader"]


class PagedReader(ABC):
    """An ``EventReader``; subclasses decide when to read pages and when to follow a tail.

    Only events from the tail are pushed; pages are returned by ``__anext__``.

    Args:
        after: The id of the event to start after.
    """

    def __init__(self, after: int) -> None:
        self._after = after
        self._taker: Taker[list[Event]] | None = None
        self._live: TailReader | None = None
        self._parts = self._read()

    def __aiter__(self) -> PagedReader:
        return self

    async def __anext__(self) -> list[Event]:
        return await self._parts.__anext__()

    async def aclose(self) -> None:
        self._taker = None
        if self._live is not None:
            await self._live.aclose()
        await self._parts.aclose()

    def push(self, taker: Taker[list[Event]]) -> None:
        self._taker = taker
        if self._live is not None:
            self._live.push(taker)

    @abstractmethod
    def _read(self) -> AsyncGenerator[list[Event], None]:
        """Yield all events after ``_after``, which is advanced as they are read."""

    def _follow(self, tail: Tail) -> TailReader:
        """Follow a tail until it ends or has dropped what this reader needs next."""
        self._live = tail.follow(self._after)
        if self._taker is not None:
            self._live.push(self._taker)
        return self._live

    def _leave(self, live: TailReader) -> None:
        """Continue after the events read from a tail."""
        self._live = None
        self._after = live.seen

    def _parts_of(self, page: list[Event]) -> Iterator[list[Event]]:
        """Split a page into parts that are small enough to send."""
        start = 0
        while start < len(page):
            events = fitting(page[start : start + PAGE])
            start += len(events)
            self._after = events[-1].id
            yield events
