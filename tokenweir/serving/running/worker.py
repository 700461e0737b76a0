"""The runs that this process holds: each waits for its turn, runs, and is ended in its record.

Who may start a run, and who may see it, is ``runs.py``'s matter; what one run does,
``execution.py``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from tokenweir.serving.log.events import END, EventLog
from tokenweir.serving.problems import Limits
from tokenweir.serving.running.encoding import encode, explain
from tokenweir.serving.running.execution import Executor, Outcome
from tokenweir.serving.running.records import Records, Run, now

__all__ = ["Worker"]

_logger = logging.getLogger("tokenweir.serving")
_RESUMABLE = "drain"


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
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._why: dict[str, str] = {}
        self._kept: dict[str, int] = {}
        """The greatest id in the record of each run that another process began."""
        self._forgetting: set[asyncio.Future[None]] = set()
        self._order: dict[str, list[str]] = {}
        self._free = asyncio.Event()
        self._free.set()

    @property
    def waiting(self) -> int:
        """How many runs wait for their turn."""
        return len(self._tasks) - self.active

    def on_thread(self, thread_id: str) -> list[str]:
        """The runs of a thread that are not over, in their order."""
        return list(self._order.get(thread_id, ()))

    def holds(self, run_id: str) -> bool:
        """Whether a run waits, runs, or is just being ended."""
        return run_id in self._tasks

    def take(self, run: Run, after_seconds: float = 0.0) -> None:
        """Execute a run as soon as it is its turn, whose record is open."""
        self._order.setdefault(run.thread_id, []).append(run.id)
        task = asyncio.get_running_loop().create_task(self._live(run, after_seconds))
        self._tasks[run.id] = task
        task.add_done_callback(lambda done: self._gone(run, done))

    def cancel(self, run_id: str, *, undo: bool = False) -> None:
        """Stop a run; with ``undo`` as if it had never been. No word if it is over."""
        run = self._records.runs.get(run_id)
        if undo and run is not None and run_id in self._tasks:
            run.undone = True
            self._records.runs.save(run)
        self._stop(run_id, "cancel")

    async def ended(self, run: Run) -> None:
        """Wait until a run is over, or is left to the next process."""
        while not run.final and (task := self._tasks.get(run.id)) is not None:
            await asyncio.wait([task])

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
        for run in left:
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
            if run.status == "running":
                run.attempt += 1
                self._kept[run.id] = await self._log.reopen(run.id)
            else:
                self._log.open(run.id)
            if (thread := self._records.threads.get(run.thread_id)) is not None:
                thread.status = "busy"
            self.take(run)
        return len(left)

    async def drain(self) -> None:
        """Take no more runs; let those there are finish, then stop them, to be resumed later."""
        self.stopping = True
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=self._limits.drain_seconds)
        for run_id in list(self._tasks):
            self._stop(run_id, _RESUMABLE)
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=10)

    # Inside

    def _gone(self, run: Run, done: asyncio.Task[None]) -> None:
        why = self._why.pop(run.id, None)
        self._kept.pop(run.id, None)
        if not done.cancelled() and (error := done.exception()) is not None:
            _logger.error("run %s was lost", run.id, exc_info=error)
            if not run.final:
                self._finish(run, Outcome("error", explain(error)))
        elif why == "cancel" and not run.final:
            self._finish(run, Outcome("interrupted"))  # stopped before its first step
            if run.undone:
                forgetting = asyncio.ensure_future(self.forget(run))
                self._forgetting.add(forgetting)
                forgetting.add_done_callback(self._forgetting.discard)
        self._tasks.pop(run.id, None)
        order = self._order[run.thread_id]
        order.remove(run.id)
        if not order:
            del self._order[run.thread_id]

    def _stop(self, run_id: str, why: str) -> None:
        task = self._tasks.get(run_id)
        if task is not None:
            self._why.setdefault(run_id, why)
            task.cancel()

    async def _live(self, run: Run, after_seconds: float) -> None:
        """One run from its start to its end."""
        outcome = Outcome("interrupted")
        try:
            await asyncio.sleep(after_seconds)
            await self._turn(run)
            async with self._slot():
                run.status = "running"
                self._records.runs.save(run)
                outcome = await self._timed(run)
        except asyncio.CancelledError:
            if self._why.get(run.id) == _RESUMABLE or run.id not in self._why:
                self._log.suspend(run.id)  # it stays unfinished, for the next process
                return
            outcome = Outcome("timeout" if self._why[run.id] == "timeout" else "interrupted")
            with contextlib.suppress(asyncio.CancelledError):
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
            await asyncio.wait([self._tasks[first]])
            await asyncio.sleep(0)  # its callbacks

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        while self.active >= self._limits.runs:
            self._free.clear()
            await self._free.wait()
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self._free.set()

    async def _timed(self, run: Run) -> Outcome:
        assistant = self._records.assistants.get(run.assistant_id)
        if assistant is None:
            reason = f"the assistant {run.assistant_id} was deleted before the run began"
            return Outcome("error", {"error": "AssistantMissing", "message": reason})
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._limits.run_seconds, self._stop, run.id, "timeout")
        try:
            return await self._executor.execute(run, assistant, self._kept.pop(run.id, 0))
        finally:
            timer.cancel()

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
            statuses = {"success": "idle", "interrupted": "interrupted"}
            thread.status = "busy" if others else statuses.get(run.status, "error")
            if run.status == "interrupted" and not outcome.waits:
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
