"""Reads one run of an event log on disk: old events from the file, new ones from memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

from tokenweir.serving.log.events import END, Event
from tokenweir.serving.log.paged_reader import PagedReader
from tokenweir.serving.log.tail import Tail

__all__ = ["SqliteReader"]


class SqliteReader(PagedReader):
    """Reads the file, then the tail, and the file again if it is too slow for the tail.

    Args:
        after: The id to start after.
        tail: Gives the run's newest events; None if the run has ended.
        page: Reads the next events after an id from the file.
    """

    def __init__(
        self,
        after: int,
        *,
        tail: Callable[[], Tail | None],
        page: Callable[[int], Awaitable[list[Event]]],
    ) -> None:
        super().__init__(after)
        self._tail = tail
        self._page = page

    async def _read(self) -> AsyncGenerator[list[Event], None]:
        while True:
            tail = self._tail()
            if tail is not None and self._after >= tail.dropped:
                live = self._follow(tail)
                async for events in live:
                    yield events
                self._leave(live)
                if self._after >= tail.dropped:
                    return
                continue  # too slow: the next events are only on disk
            found = await self._page(self._after)
            for events in self._parts_of(found):
                yield events
                if events[-1].kind == END:
                    return
            if not found and self._tail() is tail:
                return
