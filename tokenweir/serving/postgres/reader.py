"""Reads one run: live while it is written, here or at another server, else from Postgres."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from tokenweir.serving.log.events import END, Event
from tokenweir.serving.log.paged_reader import PagedReader
from tokenweir.serving.log.tail import Tail
from tokenweir.serving.postgres.mirror import Mirror
from tokenweir.serving.postgres.wakeup import Wakeup
from tokenweir.serving.problems import CutOffError, StoreError

__all__ = ["PostgresReader"]

_LOOK = 1.0
"""Seconds after which a reader polls even without a notification."""

_MISSED = 0.25
"""The same if live events were missed: as often as events are written to Postgres."""


class PostgresReader(PagedReader):
    """Alternates between pages in Postgres and a tail, of a writer in this process or of a mirror.

    It ends after the end event, or when all is read and the run has ended or is deleted.

    Args:
        after: The id of the event to start after.
        wakeup: Wakes the reader when there may be new events.
        mirror: Gives the newest events if another process writes the run.
        tail: Gives the newest events if this process writes the run.
        page: Reads the next events after an id, and whether the run has ended.
        reads: Called repeatedly while another process may write the run.
        is_cut: Whether the server is stopping.
    """

    def __init__(
        self,
        after: int,
        wakeup: Wakeup,
        mirror: Mirror,
        *,
        tail: Callable[[], Tail | None],
        page: Callable[[int], Awaitable[tuple[list[Event], bool]]],
        reads: Callable[[], None],
        is_cut: Callable[[], bool],
    ) -> None:
        super().__init__(after)
        self._wakeup = wakeup
        self._mirror = mirror
        self._tail = tail
        self._page = page
        self._reads = reads
        self._is_cut = is_cut

    async def _read(self) -> AsyncGenerator[list[Event], None]:
        while True:
            tail = self._tail()
            if tail is None and not self._is_cut():
                self._reads()
                tail = self._mirror.tail
            missed = tail is not None and self._after < tail.dropped
            if tail is not None and not missed:
                live = self._follow(tail)
                async for events in live:
                    yield events
                    if events[-1].kind == END:
                        return
                self._leave(live)
                # Too slow, claimed by another worker, or a gap: the next events are in Postgres.
            found, over = list[Event](), False
            with contextlib.suppress(StoreError):  # then the state is unknown, and this is no end
                found, over = await self._page(self._after)
            self._mirror.read(found)
            for events in self._parts_of(found):
                yield events
                if events[-1].kind == END:
                    return
            if found:
                continue
            if over:
                return
            if self._is_cut():
                raise CutOffError("the server is stopping; the run continues")
            await self._wakeup.wait(_MISSED if missed else _LOOK)
