"""Whose turn it is: which runs may be claimed, of those that are not over. No I/O.

Of each thread the first run that is due may run; a run that is to be ended need not wait for that.
"""

from __future__ import annotations

from tokenweir.serving.running.records import Run

__all__ = ["Turns"]


class Turns:
    """The runs of one store that are due and not over, by thread and by server."""

    def __init__(self) -> None:
        self._order: dict[str, dict[str, Run]] = {}
        """By thread, the first of which may run."""
        self._held: dict[str, dict[str, Run]] = {}
        """By server: the runs that it holds."""
        self._ready: dict[str, Run] = {}
        """Those that may be claimed to be executed, in the order in which it came to that."""
        self._to_end: dict[str, Run] = {}
        """Those that may be claimed to be ended."""
        self._closed: set[str] = set()
        """Threads and runs of which nothing may be claimed just now."""

    def on_thread(self, thread_id: str) -> list[Run]:
        """The runs of a thread that are due and not over, in their order."""
        return list(self._order.get(thread_id, {}).values())

    def is_due(self, run: Run) -> bool:
        """Whether a run has its place among those of its thread."""
        return run.id in self._order.get(run.thread_id, {})

    def line_up(self, run: Run) -> None:
        """A run that is due takes its place behind those of its thread."""
        self._order.setdefault(run.thread_id, {})[run.id] = run
        self._look(run.thread_id)

    def close(self, id: str) -> None:
        """Have no run of this thread, or not this run, be claimed."""
        self._closed.add(id)
        for claimable in (self._ready, self._to_end):
            for run in list(claimable.values()):
                if id in (run.thread_id, run.id):
                    del claimable[run.id]

    def open(self, id: str, runs: list[Run]) -> None:
        """Let them be claimed again; ``runs`` are all of them that are not over."""
        self._closed.discard(id)
        for run in runs:
            self.ask(run)
            self._look(run.thread_id)

    def ask(self, run: Run) -> None:
        """Look at a run that may have to be ended."""
        if run.stopping and not run.server and not self._is_closed(run):
            self._ready.pop(run.id, None)
            self._to_end[run.id] = run

    def next(self, *, to_end: bool) -> Run | None:
        """The next run that may be claimed: to be ended, or to be executed."""
        return next(iter((self._to_end if to_end else self._ready).values()), None)

    def hold(self, run: Run, server: str) -> None:
        """A server has claimed a run."""
        self._ready.pop(run.id, None)
        self._to_end.pop(run.id, None)
        run.server = server
        self._held.setdefault(server, {})[run.id] = run

    def held(self, server: str) -> list[Run]:
        """What a server holds."""
        return list(self._held.get(server, {}).values())

    def release(self, run: Run) -> None:
        """Nobody holds a run any more."""
        self._held.get(run.server, {}).pop(run.id, None)
        run.server = ""
        self.ask(run)
        self._look(run.thread_id)

    def remove(self, run: Run) -> None:
        """A run is over, or gone."""
        self._held.get(run.server, {}).pop(run.id, None)
        self._ready.pop(run.id, None)
        self._to_end.pop(run.id, None)
        order = self._order.get(run.thread_id, {})
        if order.pop(run.id, None) is not None and not order:
            del self._order[run.thread_id]
        self._look(run.thread_id)

    def _look(self, thread_id: str) -> None:
        """Have the first run of a thread be claimed, if nobody holds it."""
        order = self._order.get(thread_id)
        if not order:
            return
        first = next(iter(order.values()))
        if not first.server and not first.stopping and not self._is_closed(first):
            self._ready[first.id] = first

    def _is_closed(self, run: Run) -> bool:
        return run.id in self._closed or run.thread_id in self._closed
