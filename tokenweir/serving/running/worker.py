"""The runs that this process holds: each waits for its turn, runs, and is ended in its record.

Who may start a run, and who may see it, is ``runs.py``'s matter; what one run does,
``execution.py``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tokenweir.serving.log.events import END, EventLog
from tokenweir.serving.problems import Limits
from tokenweir.serving.running.encoding import encode, explain
from tokenweir.serving.running.execution import Executor, Outcome
from tokenweir.serving.running.records import Records, Run, ThreadStatus, now

__all__ = ["Worker"]

_logger = logging.getLogger("tokenweir.serving")
_RESUMABLE = "drain"

_GRACE = 5.0
"""Seconds in which the nodes of a stopped run clean up. Then it is ended without them."""


@dataclass(eq=False)
class _Held:
    """A run that is not over."""

    run: Run
    kept: int = 0
    """The greatest id in its record, if another process began it."""
    due: bool = False
    """Whether it has its place among the runs of its thread."""
    runs: bool = False
    """Whether it has a slot."""
    why: str | None = None
    """Why it is being stopped: ``cancel``, ``timeout`` or ``_RESUMABLE``."""
    task: asyncio.Task[None] = field(init=False)


class Worker:
    """Executes runs: those of one thread one after the other, and so many at once.

    Attributes:
        active: How many runs run now.
        stopping: Whether the server is about to stop, and takes no more runs.
    """

    def __init__(self, executor: Executor, log: EventLog, records: Records, limits: Limits) -> None:
        self.active = 0
        self.stopping = False
        self._executor = executor
        self._log = log
        self._records = records
        self._limits = limits
        self._held: dict[str, _Held] = {}
        self._order: dict[str, list[str]] = {}
        """By thread: its runs that are due, the first of which may run."""
        self._forgetting: set[asyncio.Future[None]] = set()
        self._free = asyncio.Event()
        self._free.set()

    @property
    def waiting(self) -> int:
        """How many runs wait for their turn; not those that are not due."""
        return sum(held.due and not held.runs for held in self._held.values())

    def waiting_of(self, owner: str) -> tuple[int, int]:
        """How many runs of an owner wait for their turn, and how many are not due."""
        held = [each for each in self._held.values() if each.run.owner == owner]
        return sum(each.due and not each.runs for each in held), sum(not each.due for each in held)

    def on_thread(self, thread_id: str) -> list[str]:
        """The runs of a thread that are due and not over, in their order."""
        return list(self._order.get(thread_id, ()))

    def holds(self, run_id: str) -> bool:
        """Whether a run waits, runs, or is just being ended."""
        return run_id in self._held

    def take(self, run: Run, kept: int = 0) -> None:
        """Execute a run, whose record is open, as soon as it is due and it is its turn.

        ``kept`` is the greatest id in its record, if another process began it.
        """
        held = self._held[run.id] = _Held(run, kept)
        if run.delay <= 0:
            self._line_up(held)
        held.task = asyncio.get_running_loop().create_task(self._live(held))
        held.task.add_done_callback(lambda done: self._gone(held, done))

    def cancel(self, run_id: str, *, undo: bool = False) -> None:
        """Stop a run; with ``undo`` as if it had never been. No word if it is over."""
        held = self._held.get(run_id)
        if held is None:
            return
        if undo:
            held.run.undone = True
            self._records.runs.save(held.run)
        self._stop(held, "cancel")

    async def ended(self, run: Run) -> None:
        """Wait until a run is over, or is left to the next process."""
        while not run.final and (held := self._held.get(run.id)) is not None:
            await asyncio.wait([held.task])

    async def forget(self, run: Run) -> None:
        """Remove a run that is over, and its events."""
        self._records.runs.remove(run.id)
        await self._log.delete(run.id)

    async def resume(self) -> int:
        """Go on with the runs that a former process left unfinished; how many there are.

        Their records are open when this returns. Before that a reader who comes back would be told
        that there is nothing more, and take the run for over.
        """
        for run in self._records.runs.all():
            if run.undone and run.final:  # all but this had been done
                await self.forget(run)
        left = [run for run in self._records.runs.all() if not run.final]
        for run in sorted(left, key=lambda run: run.due_at or run.created_at):
            if run.request.graph not in self._executor.graphs:
                await self._log.reopen(run.id)
                reason = f"the server was started again without the graph {run.request.graph!r}"
                error = {"error": "GraphMissing", "message": reason}
                self._finish(run, Outcome("error", error))
                continue
            if run.undone:
                await self._log.reopen(run.id)
                await self._executor.undo(run)
                outcome = Outcome("interrupted")
                await self._executor.settle(run, outcome)
                self._finish(run, outcome)
                await self.forget(run)
                continue
            kept = 0
            if run.status == "running":
                run.attempt += 1
                kept = await self._log.reopen(run.id)
            else:
                self._log.open(run.id)
            self.take(run, kept)
        return len(left)

    async def drain(self) -> None:
        """Take no more runs; let those that are due finish, then stop them, to be resumed later."""
        self.stopping = True
        held = list(self._held.values())
        for each in held:
            if not each.due:
                self._stop(each, _RESUMABLE)
        if held:
            tasks = [each.task for each in held]
            await asyncio.wait(tasks, timeout=self._limits.drain_seconds)
            for each in held:
                self._stop(each, _RESUMABLE)
            await asyncio.wait(tasks, timeout=2 * _GRACE)

    # Inside

    def _line_up(self, held: _Held) -> None:
        """A run that is due takes its place behind those of its thread, or stops them."""
        run, held.due = held.run, True
        order = self._order.setdefault(run.thread_id, [])
        if run.strategy in ("interrupt", "rollback"):
            for other in order:
                self.cancel(other, undo=run.strategy == "rollback")
        order.append(run.id)
        if (thread := self._records.threads.get(run.thread_id)) is not None:
            thread.status = "busy"

    def _gone(self, held: _Held, done: asyncio.Task[None]) -> None:
        run = held.run
        if not done.cancelled() and (error := done.exception()) is not None:
            _logger.error("run %s was lost", run.id, exc_info=error)
            if not run.final:
                self._finish(run, Outcome("error", explain(error)))
        elif held.why == "cancel" and not run.final:
            self._finish(run, Outcome("interrupted"))  # stopped before its first step
            if run.undone:
                forgetting = asyncio.ensure_future(self.forget(run))
                self._forgetting.add(forgetting)
                forgetting.add_done_callback(self._forgetting.discard)
        del self._held[run.id]
        if held.due:
            order = self._order[run.thread_id]
            order.remove(run.id)
            if not order:
                del self._order[run.thread_id]

    def _stop(self, held: _Held, why: str) -> None:
        if held.why is None:
            held.why = why
            held.task.cancel()

    async def _live(self, held: _Held) -> None:
        """One run from its start to its end."""
        run, outcome = held.run, None
        try:
            if not held.due:
                await asyncio.sleep(run.delay)
                self._line_up(held)
            await self._turn(run)
            async with self._slot(held):
                run.status = "running"
                self._records.runs.save(run)
                outcome = await self._work(held)
        except asyncio.CancelledError:
            pass
        if outcome is None:
            if held.why in (None, _RESUMABLE):
                self._log.suspend(run.id)  # it stays unfinished, for the next process
                return
            outcome = Outcome("timeout" if held.why == "timeout" else "interrupted")
            if run.undone:
                await self._executor.undo(run)
            await self._executor.settle(run, outcome)
        self._finish(run, outcome)
        if run.temporary:
            await self._executor.forget(run.thread_id)
        if run.undone:
            await self.forget(run)

    async def _turn(self, run: Run) -> None:
        """Wait until the thread's earlier runs are over."""
        while (first := self._order[run.thread_id][0]) != run.id:
            await asyncio.wait([self._held[first].task])
            await asyncio.sleep(0)  # its callbacks

    @contextlib.asynccontextmanager
    async def _slot(self, held: _Held) -> AsyncIterator[None]:
        while self.active >= self._limits.runs:
            self._free.clear()
            await self._free.wait()
        self.active += 1
        held.runs = True
        try:
            yield
        finally:
            self.active -= 1
            self._free.set()

    async def _work(self, held: _Held) -> Outcome | None:
        """Execute a run; None if it was stopped, whether its nodes listen to that or not."""
        run = held.run
        assistant = self._records.assistants.get(run.assistant_id)
        if assistant is None:
            reason = f"the assistant {run.assistant_id} was deleted before the run began"
            return Outcome("error", {"error": "AssistantMissing", "message": reason})
        work = asyncio.ensure_future(self._executor.execute(run, assistant, held.kept))
        try:
            await asyncio.wait([work], timeout=self._limits.run_seconds)
            if not work.done():
                held.why = held.why or "timeout"
        except asyncio.CancelledError:
            if held.why is None:  # the loop is being closed
                work.cancel()
                raise
        if not work.done():
            work.cancel()
            await asyncio.wait([work], timeout=_GRACE)
        if not work.done():
            names = await self._executor.refuse(run, work)
            _logger.error(
                "run %s of %s was stopped, and %s did not end within %g s: the run is over without "
                "it, and what it still writes is refused. A node has to let CancelledError through",
                *(run.id, run.request.graph, names, _GRACE),
            )
            return None
        stopped = work.cancelled() or held.why in ("cancel", "timeout")
        return None if stopped else work.result()

    def _finish(self, run: Run, outcome: Outcome) -> None:
        run.status = outcome.status
        run.error = outcome.error
        if outcome.status == "timeout":
            limit = self._limits.run_seconds
            run.error = {"error": "TimeoutError", "message": f"the run took over {limit:g} s"}
        self._records.runs.save(run)
        thread = self._records.threads.get(run.thread_id)
        if thread is not None:
            others = [other for other in self._order.get(run.thread_id, ()) if other != run.id]
            statuses: dict[str, ThreadStatus] = {"success": "idle", "interrupted": "interrupted"}
            thread.status = "busy" if others else statuses.get(run.status, "error")
            if run.status == "interrupted" and not outcome.next:
                thread.status = "busy" if others else "idle"
            if outcome.values is not None:
                thread.values = outcome.values
            thread.interrupts = outcome.interrupts
            thread.error = run.error
            thread.state_updated_at = now()
            self._records.threads.save(thread)
        if run.error is not None:
            self._log.append(run.id, "error", encode(run.error))
        self._log.append(run.id, END, encode({"status": run.status}))
