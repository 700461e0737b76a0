"""What becomes of a run whose reader left: it is stopped, unless a reader comes back soon.

A page that is stopped and a page that is loaded again both close their connection, and nothing
else. So the run goes on for a moment: who loads again comes back within it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from tokenweir.serving.ends import Ends
from tokenweir.serving.http.event_parts import EventParts
from tokenweir.serving.log.events import Event, EventReader
from tokenweir.serving.problems import NotFoundError, TooBusyError
from tokenweir.serving.running.records import Run, Thread
from tokenweir.serving.running.runs import Runs

__all__ = ["Readers"]

_GRACE = 5.0
"""Seconds in which a page is loaded again."""


class Readers:
    """Who reads which run here.

    Args:
        runs: Gives the runs of the server.

    Attributes:
        ends: The ends that readers were told of, where a protocol notes that.
    """

    def __init__(self, runs: Callable[[], Runs]) -> None:
        self._runs = runs
        self._here: dict[str, int] = {}
        self.ends = Ends()

    async def take_over(self, thread_id: str, owner: str) -> Thread | None:
        """A thread that somebody goes on with: what still runs on it is stopped first.

        So the thread holds what was shown. None if it is not there yet.
        """
        runs = self._runs()
        for run in await runs.store.unfinished(owner, thread_id=thread_id):
            with contextlib.suppress(NotFoundError):  # over meanwhile
                await runs.cancel(run.id, owner, wait=True)
        try:
            return await runs.thread(thread_id, owner)
        except NotFoundError:
            return None

    def parts(
        self, run: Run, events: EventReader, encode: Callable[[list[Event]], bytes]
    ) -> EventParts:
        """The parts of a response for one more reader of a run."""
        self._here[run.id] = self._here.get(run.id, 0) + 1
        self._runs().store.tell_of_reader(run.id)
        return _Parts(events, encode, lambda: self._gone(run))

    def left(self, run: Run, asked: str | None) -> None:
        """A reader left before the end.

        Args:
            run: What it read.
            asked: ``cancel`` to stop the run at once, ``continue`` not to; None for in a while.
        """
        if asked == "cancel":
            self._runs().cancel_soon(run)
        elif asked != "continue":
            asyncio.get_running_loop().call_later(_GRACE, self._look, run)

    def _gone(self, run: Run) -> None:
        self._here[run.id] -= 1
        if not self._here[run.id]:
            del self._here[run.id]

    def _look(self, run: Run) -> None:
        if run.id in self._here or self.ends.was_told(run.id):
            return
        # A reader who came back to another server is that one's, which looks when it leaves.
        if not self._runs().store.read_elsewhere(run.id, _GRACE):
            with contextlib.suppress(TooBusyError):  # the server has stopped meanwhile
                self._runs().cancel_soon(run)


class _Parts(EventParts):
    def __init__(
        self,
        events: EventReader,
        encode: Callable[[list[Event]], bytes],
        on_close: Callable[[], None],
    ) -> None:
        super().__init__(events, encode)
        self._on_close: Callable[[], None] | None = on_close

    async def aclose(self) -> None:
        if (closed := self._on_close) is not None:
            self._on_close = None
            closed()
        await super().aclose()
