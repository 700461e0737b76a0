"""Reads one run: live while it is being written, here or at another server, else from Postgres."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from tokenweir.serving.log.events import END, PAGE, Event, Taker, fitting
from tokenweir.serving.log.tail import Tail, TailReader
from tokenweir.serving.postgres.mirror import Mirror
from tokenweir.serving.postgres.place import Place
from tokenweir.serving.problems import CutOffError, StoreError

__all__ = ["PostgresReader"]

_LOOK = 1.0
"""Seconds after which it looks for more, should nobody have told of it."""

_MISSED = 0.25
"""The same when it knows that there is more, which was sent and did not come: as often as events
are written to Postgres."""


class PostgresReader:
    """Goes between the pages in Postgres and a tail: of a writer in this process, or of a mirror.

    Only what comes in a tail is pushed; the pages are for ``__anext__``. It ends behind the end,
    or when nothing is left and the run is over, or gone.

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
        self._after = after
        self._place = place
        self._mirror = mirror
        self._tail = tail
        self._page = page
        self._reads = reads
        self._is_cut = is_cut
        self._taker: Taker[list[Event]] | None = None
        self._live: TailReader | None = None
        self._pages = self._read()

    def __aiter__(self) -> PostgresReader:
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

    async def _read(self) -> AsyncGenerator[list[Event], None]:
        while True:
            tail = self._tail()
            if tail is None and not self._is_cut():
                self._reads()
                tail = self._mirror.tail
            missed = tail is not None and self._after < tail.dropped
            if tail is not None and not missed:
                self._live = live = tail.follow(self._after)
                if self._taker is not None:
                    live.push(self._taker)
                async for events in live:
                    yield events
                    if events[-1].kind == END:
                        return
                self._live = None
                self._after = live.seen
                # Too slow, or another worker's, or something lacks: what comes next is in Postgres.
            found, over = list[Event](), False
            with contextlib.suppress(StoreError):  # then nothing is known, and no end either
                found, over = await self._page(self._after)
            self._mirror.read(found)
            start = 0
            while start < len(found):
                events = fitting(found[start : start + PAGE])
                start += len(events)
                self._after = events[-1].id
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
