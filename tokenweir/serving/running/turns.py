"""Decides which of the runs that have not ended may be claimed. No I/O.

On each thread, the first run that is due may run. A run that must only be ended need not wait.
"""

from __future__ import annotations

from tokenweir.serving.running.records import Run

__all__ = ["Turns"]


class Turns:
    """The runs of one store that are due and have not ended, by thread and by server."""

    def __init__(self) -> None:
        self._order: dict[str, dict[str, Run]] = {}
        """By thread: its runs in order; the first may run."""
        self._held: dict[str, dict[str, Run]] = {}
        """By server: the runs that it holds."""
        self._ready: dict[str, Run] = {}
        """Runs that may be claimed for execution, in the order in which they became ready."""
        self._to_end: dict[str, Run] = {}
        """Runs that may be claimed only to be ended."""
        self._closed: set[str] = set()
        """The ids of threads and runs that must not be claimed at the moment."""

    def on_thread(self, thread_id: str) -> list[Run]:
        """The runs of a thread that are due and have not ended, in order."""
        return list(self._order.get(thread_id, {}).values())

    def is_due(self, run: Run) -> bool:
        """Whether a run is lined up on its thread."""
        return run.id in self._order.get(run.thread_id, {})

    def line_up(self, run: Run) -> None:
        """Line up a run that is due, after the others of its thread."""
        self._order.setdefault(run.thread_id, {})[run.id] = run
        self._look(run.thread_id)

    def close(self, id: str) -> None:
        """Keep this run, or all runs of this thread, from being claimed."""
        self._closed.add(id)
        for claimable in (self._ready, self._to_end):
            for run in list(claimable.values()):
                if id in (run.thread_id, run.id):
                    del claimable[run.id]

    def open(self, id: str, runs: list[Run]) -> None:
        """Allow claims again; ``runs`` are the affected runs that have not ended."""
        self._closed.discard(id)
        for run in runs:
            self.ask(run)
            self._look(run.thread_id)

    def ask(self, run: Run) -> None:
        """Make a run claimable to be ended, if it must be stopped and has no holder."""
        if run.stopping and not run.server and not self._is_closed(run):
            self._ready.pop(run.id, None)
            self._to_end[run.id] = run

    def next(self, *, to_end: bool) -> Run | None:
        """The next run that may be claimed to be ended, or to be executed; None if none can."""
        return next(iter((self._to_end if to_end else self._ready).values()), None)

    def hold(self, run: Run, server: str) -> None:
        """Note that a server has claimed a run."""
        self._ready.pop(run.id, None)
        self._to_end.pop(run.id, None)
        run.server = server
        self._held.setdefault(server, {})[run.id] = run

    def held(self, server: str) -> list[Run]:
        """The runs that a server holds."""
        return list(self._held.get(server, {}).values())

    def release(self, run: Run) -> None:
        """Note that a run has no holder any more."""
        self._held.get(run.server, {}).pop(run.id, None)
        run.server = ""
        self.ask(run)
        self._look(run.thread_id)

    def remove(self, run: Run) -> None:
        """Note that a run has ended or was deleted."""
        self._held.get(run.server, {}).pop(run.id, None)
        self._ready.pop(run.id, None)
        self._to_end.pop(run.id, None)
        order = self._order.get(run.thread_id, {})
        if order.pop(run.id, None) is not None and not order:
            del self._order[run.thread_id]
        self._look(run.thread_id)

    def _look(self, thread_id: str) -> None:
        """Make the first run of a thread claimable, if it has no holder."""
        order = self._order.get(thread_id)
        if not order:
            return
        first = next(iter(order.values()))
        if not first.server and not first.stopping and not self._is_closed(first):
            self._ready[first.id] = first

    def _is_closed(self, run: Run) -> bool:
        return run.id in self._closed or run.thread_id in self._closed
