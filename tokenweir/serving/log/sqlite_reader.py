"""Reads one run of an event log on a disk: from the file what is old, from memory what is new."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

from tokenweir.serving.log.events import END, PAGE, Event, Taker, fitting
from tokenweir.serving.log.tail import Tail, TailReader

__all__ = ["SqliteReader"]


class SqliteReader:
    """Goes from the file to the tail and, when it is too slow for that, back.

    Only what comes in the tail is pushed; the pages of the file are for ``__anext__``.

    Args:
        after: The id behind which to begin.
        tail: Gives the run's newest events; None if it is over.
        page: Reads the next events after an id from the file.
    """

    def __init__(
        self,
        after: int,
        *,
        tail: Callable[[], Tail | None],
        page: Callable[[int], Awaitable[list[Event]]],
    ) -> None:
        self._tail = tail
        self._page = page
        self._taker: Taker[list[Event]] | None = None
        self._live: TailReader | None = None
        self._pages = self._read(after)

    def __aiter__(self) -> SqliteReader:
        return self

    async def __anext__(self) -> list[Event]:
        return await self._pages.__anext__()

    async def aclose(self) -> None:
        self._taker = None
        if self._live is not None:
            await self._live.aclose()
        await self._pages.aclose()

    def push(self, taker: Taker[list[Event]]) -> None:
        self._taker = taker
        if self._live is not None:
            self._live.push(taker)

    async def _read(self, after: int) -> AsyncGenerator[list[Event], None]:
        while True:
            tail = self._tail()
            if tail is not None and after >= tail.dropped:
                self._live = live = tail.follow(after)
                if self._taker is not None:
                    live.push(self._taker)
                async for events in live:
                    yield events
                self._live = None
                after = live.seen
                if after >= tail.dropped:
                    return
                continue  # too slow: what comes next is on the disk only
            found = await self._page(after)
            start = 0
            while start < len(found):
                events = fitting(found[start : start + PAGE])
                start += len(events)
                after = events[-1].id
                yield events
                if events[-1].kind == END:
                    return
            if not found and self._tail() is tail:
                return
