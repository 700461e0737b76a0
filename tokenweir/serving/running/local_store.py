"""The store of one process: records in memory, and a journal, which may be a file.

Everything runs in one event loop, so the code between two awaits is a transaction: the log writes
all changes of records and all events of one iteration of the loop together. There may be several
workers; a server counts as dead once it has left, or if it belonged to a former process.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from msgspec.structs import replace

from tokenweir.serving.log.events import END, EventWriter
from tokenweir.serving.problems import (
    ConflictError,
    CutOffError,
    Limits,
    LostError,
    NotFoundError,
    StoreError,
)
from tokenweir.serving.running.encoding import encode
from tokenweir.serving.running.local_records import LocalLog, LocalRecords
from tokenweir.serving.running.records import Run, Thread
from tokenweir.serving.running.store import Counts, Hold, Outcome
from tokenweir.serving.running.store_rules import (
    check_queue,
    check_strategy,
    check_threads,
    run_ends,
    run_is_created,
)

__all__ = ["LocalStore"]

_STOPPING = "the server is stopping; the run continues later"
_DAY = 86400.0


class LocalStore(LocalRecords):
    """A store for the workers and clients of one event loop."""

    def __init__(self, log: LocalLog) -> None:
        super().__init__(log)
        self._delayed_of = Counter[str]()
        """By owner: the number of runs that are not due."""
        self._delayed: dict[str, asyncio.TimerHandle] = {}
        """By run: the timer for when it is due."""
        self._to_stop: dict[str, dict[str, Run]] = {}
        """By server: runs that it holds and must stop, and has not been told of."""
        self._enders: dict[str, list[asyncio.Future[Run]]] = {}
        self._beginning: dict[str, list[asyncio.Future[None]]] = {}
        """By thread: the waiters for its next run to begin."""
        self._stopped = False
        self._half_gone = [run.id for run in self._runs if run.final and run.undone]
        """Runs that a former process undid and ended, but did not remove."""
        left = [run for run in self._runs if not run.final]
        for run in sorted(left, key=lambda run: run.due_at or run.created_at):
            (log.take_up if run.attempt else log.open)(run.id)
            run.lost += bool(run.server)
            run.server = ""
            self._await_its_time(run)
            self._turns.ask(run)

    # Runs, for clients

    async def create(self, run: Run, limits: Limits) -> None:
        self._check_writable()
        run = replace(run)
        async with self._lock(run.thread_id):
            self._admit(run, limits)
            self._log.open(run.id)
            self._runs.save(run)
            self._await_its_time(run)
        self._tell()
        try:  # a client that is given the id must find the run again after a crash
            await self._log.saved(run.id, patient=False)
        except StoreError:
            if not run.final:
                self._stop(run, undo=True)
                self._tell()
            raise

    def _admit(self, run: Run, limits: Limits) -> None:
        """Check that a new run is allowed, and create or update its thread."""
        delayed = self._delayed_of[run.owner]
        waiting = self._runs.pending_of[run.owner] - delayed
        check_queue(run, limits, waiting=waiting, delayed=delayed)
        if self._owner_of(run.thread_id) not in (None, run.owner):
            raise NotFoundError(f"there is no thread {run.thread_id}")
        check_strategy(run, busy=bool(self._turns.on_thread(run.thread_id)))
        if run.temporary:
            return
        known = self._threads.get(run.thread_id)
        if known is None:
            check_threads(self._threads.owned(run.owner), limits)
        thread = known or Thread(id=run.thread_id, owner=run.owner)
        run_is_created(thread, run)
        self._threads.save(thread)

    async def run(self, run_id: str, owner: str) -> Run:
        return await self._runs.whole(self._run(run_id, owner))

    async def runs_of(
        self, thread_id: str, owner: str, *, status: str | None = None, limit: int, offset: int = 0
    ) -> list[Run]:
        found = [
            run
            for run in reversed(self._runs.on_thread(thread_id))
            if run.owner == owner and status in (None, run.status)
        ]
        return [await self._runs.whole(run) for run in found[offset : offset + limit]]

    async def unfinished(
        self,
        owner: str,
        *,
        ids: Collection[str] | None = None,
        thread_id: str | None = None,
        status: str | None = None,
    ) -> list[Run]:
        runs: Iterator[Run] = iter(self._runs)
        if ids is not None:
            runs = filter(None, map(self._runs.get, ids))
        return [
            replace(run)
            for run in runs
            if run.owner == owner
            and not run.final
            and thread_id in (None, run.thread_id)
            and status in (None, run.status)
        ]

    async def ended(self, run_id: str, owner: str) -> Run:
        run = self._run(run_id, owner)
        if run.final:
            return await self._runs.whole(run)
        waiting: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        self._enders.setdefault(run_id, []).append(waiting)
        if self._stopped:
            self._cut_off()
        return await waiting

    async def latest(self, thread_id: str, owner: str) -> Run | None:
        runs = await self._begun(thread_id, owner)
        return await self._runs.whole(runs[-1]) if runs else None

    async def next_turn(self, thread_id: str, owner: str, after: int) -> Run:
        while True:
            for run in await self._begun(thread_id, owner):
                if run.turn > after:
                    return await self._runs.whole(run)
            if self._stopped:
                raise CutOffError(_STOPPING)
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._beginning.setdefault(thread_id, []).append(waiting)
            await waiting

    async def _begun(self, thread_id: str, owner: str) -> list[Run]:
        """The runs of a thread that have begun, ordered by turn."""
        self._thread(thread_id, owner)
        runs = self._runs.on_thread(thread_id)
        return sorted((run for run in runs if run.turn), key=lambda run: run.turn)

    async def delete_thread(self, thread_id: str, owner: str) -> None:
        await super().delete_thread(thread_id, owner)
        self._tell_of(thread_id)

    def tell_of_reader(self, run_id: str) -> None:
        return  # there are no other servers

    def read_elsewhere(self, run_id: str, within: float) -> bool:
        return False

    async def request_cancel(self, run_id: str, owner: str, *, undo: bool = False) -> None:
        run = self._run(run_id, owner)
        if run.final:
            raise NotFoundError(f"run {run_id} has already ended")
        self._stop(run, undo=undo)
        self._tell()
        if undo:
            await self._log.saved(patient=False)  # it must not be resumed, even after a crash

    async def forget(self, run_id: str, owner: str) -> None:
        run = self._run(run_id, owner)
        if not run.final:
            raise ConflictError("the run has not ended; cancel it first")
        self._check_writable()
        await self._remove(run)

    # Workers

    async def claim(self, server: str, most: int) -> list[Hold]:
        while self._half_gone:
            if (gone := self._runs.get(self._half_gone.pop())) is not None:
                await self._remove(gone)
        holds = list[Hold]()
        while (run := self._turns.next(to_end=True)) is not None:
            holds.append(self._claim(run, server, to_end=True))
        most += len(holds)
        while len(holds) < most and (run := self._turns.next(to_end=False)) is not None:
            holds.append(self._claim(run, server, to_end=False))
        return holds

    def _claim(self, run: Run, server: str, *, to_end: bool) -> Hold:
        run.attempt += 1
        self._turns.hold(run, server)
        if not to_end:
            run.status = "running"
            self._make_busy(run.thread_id)
            self._number(run)
        self._runs.save(run)
        waited = run.waited if run.attempt == 1 and not to_end else None
        return Hold(replace(run), run.attempt, waited)

    async def work(self, server: str) -> None:
        event = self._work.get(server)
        if event is None:
            event = self._work[server] = asyncio.Event()
            event.set()  # there may be work from before
        await event.wait()
        event.clear()

    async def cancels(self, server: str) -> list[Run]:
        return [replace(run) for run in self._to_stop.pop(server, {}).values()]

    async def heartbeat(self, server: str) -> None:
        return  # a server lives as long as this process

    async def leave(self, server: str) -> None:
        for run in self._turns.held(server):
            run.lost += 1
            self._turns.release(run)
        self._to_stop.pop(server, None)
        self._tell()
        self._work.pop(server, None)

    async def finish(self, hold: Hold, writer: EventWriter, outcome: Outcome) -> bool:
        async with self._lock(hold.run.thread_id):
            run = self._held_by(hold)
            if run.undone and not outcome.undone:
                return False
            self._end(run, outcome)
            if run.error is not None:
                writer.append("error", encode(run.error))
            ended: dict[str, Any] = {"status": run.status, "ended_at": run.updated_at}
            if run.stopping:
                ended["stopped"] = True
            writer.append(END, encode(ended), durable=True)
        if run.undone:
            await self._remove(run)
        else:
            await self._log.saved(run.id)  # a client that sees the end must find it after a crash
        for waiting in self._enders.pop(run.id, ()):
            if not waiting.done():
                waiting.set_result(replace(run))
        return True

    def _end(self, run: Run, outcome: Outcome) -> None:
        run.status, run.error = outcome.status, outcome.error
        self._number(run)
        self._forget_time(run)
        self._to_stop.get(run.server, {}).pop(run.id, None)
        self._turns.remove(run)
        run.server = ""
        self._runs.save(run)
        thread = self._threads.get(run.thread_id)
        if thread is not None:
            run_ends(thread, outcome, busy=bool(self._turns.on_thread(run.thread_id)))
            self._threads.save(thread)
        self._tell()

    async def release(self, hold: Hold) -> None:
        try:
            run = self._held_by(hold)
        except LostError:
            return
        run.status = "pending"
        self._to_stop.get(run.server, {}).pop(run.id, None)
        self._turns.release(run)
        self._runs.save(run)
        self._tell()

    def stop(self) -> None:
        self._stopped = True
        self._cut_off()

    async def counts(self) -> Counts:
        waiting = self._runs.by_status["pending"] - len(self._delayed)
        return Counts({**self._runs.by_status}, waiting, len(self._threads))

    # Inside

    def _run(self, run_id: str, owner: str) -> Run:
        run = self._runs.get(run_id)
        if run is None or run.owner != owner:
            raise NotFoundError(f"there is no run {run_id}")
        return run

    def _held_by(self, hold: Hold) -> Run:
        run = self._runs.get(hold.run.id)
        if run is None or run.final or run.attempt != hold.epoch:
            raise LostError
        return run

    async def _remove(self, run: Run) -> None:
        self._runs.remove(run.id)
        await self._log.delete(run.id)

    def _await_its_time(self, run: Run) -> None:
        """Once a run is due, line it up on its thread, or stop the thread's other runs first."""
        if run.delay > 0:
            loop = asyncio.get_running_loop()
            # A day at most: over longer times, clock changes and suspended machines matter.
            wake = loop.call_later(min(run.delay, _DAY), self._await_its_time, run)
            if run.id not in self._delayed:
                self._delayed_of[run.owner] += 1
            self._delayed[run.id] = wake
            return
        self._forget_time(run)
        if run.strategy in ("interrupt", "rollback") and not run.attempt:
            for other in self._turns.on_thread(run.thread_id):
                self._stop(other, undo=run.strategy == "rollback")
        self._turns.line_up(run)
        self._make_busy(run.thread_id)
        self._tell()

    def _number(self, run: Run) -> None:
        """Give a run its turn when it begins, unless it has one."""
        if run.turn:
            return
        run.turn = 1
        if (thread := self._threads.get(run.thread_id)) is not None:
            thread.turns += 1
            run.turn = thread.turns
            self._threads.save(thread)
        self._tell_of(run.thread_id)

    def _tell_of(self, thread_id: str) -> None:
        """Wake the waiters for a thread: a run has begun on it, or it was deleted."""
        for waiting in self._beginning.pop(thread_id, ()):
            if not waiting.done():
                waiting.set_result(None)

    def _make_busy(self, thread_id: str) -> None:
        thread = self._threads.get(thread_id)
        if thread is not None and thread.status != "busy":
            thread.status = "busy"
            self._threads.save(thread)

    def _forget_time(self, run: Run) -> None:
        if (wake := self._delayed.pop(run.id, None)) is not None:
            wake.cancel()
            self._delayed_of[run.owner] -= 1

    def _stop(self, run: Run, *, undo: bool) -> None:
        if run.stopping and run.undone >= undo:
            return
        run.stopping = True
        run.undone = run.undone or undo
        self._runs.save(run)
        if run.server:
            self._to_stop.setdefault(run.server, {})[run.id] = run
        self._turns.ask(run)

    def _cut_off(self) -> None:
        for waiting in [each for several in self._enders.values() for each in several]:
            if not waiting.done():
                waiting.set_exception(CutOffError(_STOPPING))
        self._enders.clear()
        for thread_id in list(self._beginning):
            self._tell_of(thread_id)
