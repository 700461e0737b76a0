"""Reads one run: live while it is being written, here or at another server, else from Postgres."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from tokenweir.serving.log.events import END, Event
from tokenweir.serving.log.paged_reader import PagedReader
from tokenweir.serving.log.tail import Tail
from tokenweir.serving.postgres.mirror import Mirror
from tokenweir.serving.postgres.place import Place
from tokenweir.serving.problems import CutOffError, StoreError

__all__ = ["PostgresReader"]

_LOOK = 1.0
"""Seconds after which it looks for more, should nobody have told of it."""

_MISSED = 0.25
"""The same when it knows that there is more, which was sent and did not come: as often as events
are written to Postgres."""


class PostgresReader(PagedReader):
    """Goes between the pages in Postgres and a tail: of a writer in this process, or of a mirror.

    It ends behind the end, or when nothing is left and the run is over, or gone.

    Args:
        after: The id of the event behind which to begin.
        place: Where news of the run come.
        mirror: Gives the run's newest events, if another process writes it.
        tail: Gives them if this process writes it.
        page: Reads the next events after an id, and whether the run is over.
        reads: Called from time to time while it waits for what another process writes.
        is_cut: Whether the server stops.
    """

    def __init__(
        self,
        after: int,
        place: Place,
        mirror: Mirror,
        *,
        tail: Callable[[], Tail | None],
        page: Callable[[int], Awaitable[tuple[list[Event], bool]]],
        reads: Callable[[], None],
        is_cut: Callable[[], bool],
    ) -> None:
        super().__init__(after)
        self._place = place
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
                # Too slow, or another worker's, or something lacks: what comes next is in Postgres.
            found, over = list[Event](), False
            with contextlib.suppress(StoreError):  # then nothing is known, and no end either
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
                raise CutOffError("the server is stopping; the run goes on")
            await self._place.wait(_MISSED if missed else _LOOK)
