"""A worker claims runs from the store, executes them, and ends them there.

The store decides which run may be claimed; ``execution.py`` decides what a run does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenweir.serving.log.events import EventWriter
from tokenweir.serving.problems import Limits, LostError, StoreError
from tokenweir.serving.running.encoding import explain
from tokenweir.serving.running.execution import Executor
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.ids import new_id
from tokenweir.serving.running.store import Hold, Outcome
from tokenweir.serving.running.timing import Timing
from tokenweir.serving.running.usage import Usage
from tokenweir.streaming.guard import Guard

__all__ = ["Worker"]

_logger = logging.getLogger("tokenweir.serving")
_CANCEL, _TIMEOUT, _RESUMABLE, _LOST = "cancel", "timeout", "drain", "lost"

_GRACE = 5.0
"""Seconds that the nodes of a stopped run have to clean up; then the run ends without them."""

_HEARTBEAT = 2.5
"""Seconds between heartbeats."""

_PAUSES = (0.5, 30.0)
"""Seconds between tries of a store that fails: the first pause, and the longest."""


@dataclass(eq=False)
class _Held:
    """A run that this worker holds."""

    hold: Hold
    why: str | None = None
    """Why it is being stopped; None if it is not."""
    over: bool = False
    """Whether it has ended in the store."""
    stopped: asyncio.Future[None] = field(init=False)
    task: asyncio.Task[None] = field(init=False)

    def stop(self, why: str) -> None:
        if self.why is None or why == _LOST:
            self.why = why
            if not self.stopped.done():
                self.stopped.set_result(None)


class Worker:
    """Executes runs of a store, up to a number at a time.

    Attributes:
        name: The server's name in the store.
        stopping: Whether the server is stopping and takes no more runs.
        problem: Why runs are not executed at the moment; None if they are.
        timing: How long its runs and their tokens took.
    """

    def __init__(
        self,
        graphs: Mapping[str, Any],
        home: Home,
        limits: Limits,
        guards: Sequence[Guard] = (),
        name: str | None = None,
    ) -> None:
        self.name = name or new_id()
        self.stopping = False
        self.problem: str | None = None
        self._store = home.store
        self._log = home.log
        self._checkpoints = home.checkpoints
        self._limits = limits
        self._executor = Executor(graphs, home.log, home.checkpoints, home.items, guards)
        self.timing = Timing()
        self._held: dict[tuple[str, int], _Held] = {}
        """By run and epoch: a run that was lost and claimed again is held twice for a moment."""
        self._claiming = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause = _PAUSES[0]

    @property
    def active(self) -> int:
        """The number of runs that are running."""
        return sum(not held.over for held in self._held.values())

    @property
    def events(self) -> int:
        """The number of events it has recorded."""
        return self._executor.events

    @property
    def usage(self) -> Usage:
        """The model calls of its runs, and their tokens."""
        return self._executor.usage

    async def start(self) -> None:
        """Claim runs, including those that former processes left unfinished, and keep claiming.

        Runs that had to be stopped have ended when this returns.
        """
        await self._store.heartbeat(self.name)
        await self._claim_and_stop()
        if ending := [each.task for each in self._held.values() if each.hold.run.stopping]:
            await asyncio.wait(ending)
        self._background(self._keep_claiming())
        self._background(self._send_heartbeats())

    async def drain(self) -> None:
        """Take no more runs; let running ones finish for a while, then stop and release them."""
        self.stopping = True
        async with self._claiming:  # so that runs that are just being claimed are held
            held = list(self._held.values())
        if held:
            tasks = [each.task for each in held]
            await asyncio.wait(tasks, timeout=self._limits.drain_seconds)
            for each in held:
                each.stop(_RESUMABLE)
            await asyncio.wait(tasks, timeout=2 * _GRACE)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._log.cut_off()
        self._store.stop()
        with contextlib.suppress(StoreError):
            await self._store.leave(self.name)

    # Inside

    def _background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_heartbeats(self) -> None:
        """Send heartbeats."""
        while True:
            await asyncio.sleep(_HEARTBEAT)
            try:
                await self._store.heartbeat(self.name)
            except StoreError as error:
                _logger.warning("this server's heartbeat failed: %s", error)

    async def _keep_claiming(self) -> None:
        """Claim and stop runs whenever the store may have work."""
        while True:
            try:
                await self._store.work(self.name)
                await self._claim_and_stop()
            except Exception as error:  # keep claiming for as long as the server runs
                known = isinstance(error, StoreError)
                _logger.error("claiming runs failed", exc_info=None if known else error)
                await asyncio.sleep(_PAUSES[0])

    async def _claim_and_stop(self) -> None:
        """Stop runs that must be stopped, and claim as many as there is room for."""
        async with self._claiming:
            for run in await self._store.cancels(self.name):
                if (held := self._held.get((run.id, run.attempt))) is not None:
                    held.stop(_CANCEL)
            if self.stopping or self.problem is not None:
                return
            room = max(0, self._limits.runs - len(self._held))
            for hold in await self._store.claim(self.name, room):
                self._take(hold)

    def _take(self, hold: Hold) -> None:
        held = self._held[hold.run.id, hold.epoch] = _Held(hold)
        loop = asyncio.get_running_loop()
        held.stopped = loop.create_future()
        held.task = loop.create_task(self._hold(held))
        held.task.add_done_callback(lambda _: self._let_go(held))

    def _let_go(self, held: _Held) -> None:
        was_full = len(self._held) >= self._limits.runs
        del self._held[held.hold.run.id, held.hold.epoch]
        if was_full and not self.stopping:
            self._background(self._claim_and_stop())

    async def _hold(self, held: _Held) -> None:
        """Handle one run from its claim until it ends or is given back."""
        hold = held.hold
        try:
            writer = await self._log.writer(
                hold.run.id, hold.epoch, on_lost=lambda: held.stop(_LOST)
            )
            try:
                await self._carry_out(held, writer)
            except (LostError, StoreError):
                raise
            except Exception as error:  # our own bug: report it, and do not try again
                _logger.error("run %s failed by a bug in the server", hold.run.id, exc_info=error)
                await self._end(held, writer, Outcome("error", explain(error)), began=True)
        except LostError:
            _logger.warning("run %s was taken over by another server", hold.run.id)
            await self._give_back(hold)  # the log may not know yet, and its readers wait for this
        except StoreError as error:
            _logger.error("run %s is postponed: %s", hold.run.id, error.__cause__ or error)
            self._put_off()
            await self._give_back(hold)

    async def _carry_out(self, held: _Held, writer: EventWriter) -> None:
        """Execute a run and end it, or give it back if the server stops."""
        hold = held.hold
        if hold.run.stopping:
            await self._end(held, writer, None, began=writer.kept > 0)
            return
        outcome = await self._work(held, writer)
        if held.why == _LOST:
            raise LostError
        if outcome is None and held.why == _RESUMABLE:
            await self._store.release(hold)
            return
        await self._end(held, writer, outcome, began=True)
        self._pause = _PAUSES[0]

    async def _work(self, held: _Held, writer: EventWriter) -> Outcome | None:
        """Execute a run; None if it was stopped, even if its nodes keep running."""
        run = held.hold.run
        if run.request.graph not in self._executor.graphs:
            reason = f"the server was restarted without the graph {run.request.graph!r}"
            return Outcome("error", {"error": "GraphMissing", "message": reason})
        assistant = await self._store.assistant(run.assistant_id)
        if assistant is None:
            reason = f"the assistant {run.assistant_id} was deleted before the run began"
            return Outcome("error", {"error": "AssistantMissing", "message": reason})
        timing = self.timing.claimed(run.request.graph, held.hold.epoch, held.hold.waited)
        work = asyncio.ensure_future(self._executor.execute(run, assistant, writer, timing))
        either: set[asyncio.Future[Any]] = {work, held.stopped}
        try:
            await asyncio.wait(
                either,
                timeout=self._limits.run_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not work.done():
                held.stop(_TIMEOUT)
                work.cancel()
                await asyncio.wait([work], timeout=_GRACE)
        except asyncio.CancelledError:  # the loop is being closed
            work.cancel()
            raise
        if not work.done():
            names = await self._executor.refuse(run, work)
            _logger.error(
                "run %s of %s was stopped; %s did not end within %g s. The run is over without it, "
                "and its further writes are refused. A node must let CancelledError through",
                *(run.id, run.request.graph, names, _GRACE),
            )
            return None
        if work.cancelled() or held.why in (_CANCEL, _TIMEOUT, _LOST):
            if not work.cancelled():
                work.exception()
            return None
        return work.result()

    async def _end(
        self, held: _Held, writer: EventWriter, outcome: Outcome | None, *, began: bool
    ) -> None:
        """End a run in the store, and undo it if asked to."""
        hold, run = held.hold, held.hold.run
        if outcome is None:
            if held.why == _TIMEOUT:
                limit = self._limits.run_seconds
                error = {"error": "TimeoutError", "message": f"the run took over {limit:g} s"}
                outcome = Outcome("timeout", error)
            else:
                outcome = Outcome("interrupted")
            if began:  # the thread keeps what readers can see, so all of it must be durable
                await writer.saved()
            await self._executor.settle(run, writer, outcome, began=began)
        while not await self._store.finish(hold, writer, outcome):
            await self._executor.undo(run)
            outcome = Outcome("interrupted", undone=True)
            await self._executor.settle(run, writer, outcome, began=began)
        held.over = True
        if run.temporary:
            await self._executor.forget(run.thread_id)

    def _put_off(self) -> None:
        """Claim nothing until checkpoints can be read and written again."""
        if self.problem is None:
            self.problem = "the checkpoints cannot be read or written"
            self._background(self._try_again())

    async def _try_again(self) -> None:
        while self.problem is not None:
            await asyncio.sleep(self._pause)
            # The test write may succeed where a run's next, larger checkpoint fails.
            self._pause = min(2 * self._pause, _PAUSES[1])
            with contextlib.suppress(StoreError):
                await self._checkpoints.atry()
                self.problem = None
        await self._claim_and_stop()

    async def _give_back(self, hold: Hold) -> None:
        while True:
            try:
                await self._store.release(hold)
            except StoreError:
                await asyncio.sleep(_PAUSES[0])
            else:
                return
