"""Runs of graphs by name: started by whoever asks, recorded in the event log, read by anybody.

A run belongs to no connection. What one run does is ``execution.py``'s matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID, uuid5

import msgspec

from tokenweir.serving.log.events import END, Event, EventLog
from tokenweir.serving.problems import (
    ConflictError,
    CutOffError,
    InvalidError,
    Limits,
    NotFoundError,
    TooBusyError,
)
from tokenweir.serving.running.encoding import encode, explain
from tokenweir.serving.running.execution import Executor, Outcome
from tokenweir.serving.running.ids import check_id, new_id
from tokenweir.serving.running.records import Assistant, Records, Run, RunRequest, Thread, now

__all__ = ["Runs"]

_GRAPHS = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""What the ids of graphs' own assistants are made from, as LangGraph's server makes them."""

_logger = logging.getLogger("tokenweir.serving")
_RESUMABLE = "drain"


class Runs:
    """All runs of one server, in one event loop.

    The life of a run: ``pending`` while its thread or the server is busy, ``running``, then
    ``success``, ``error``, ``timeout`` or ``interrupted`` (by a node or by ``cancel``). Its last
    event is ``end``; its status is final before that can be read.
    """

    def __init__(
        self,
        graphs: Mapping[str, Any],
        log: EventLog,
        checkpointer: Any,
        records: Records | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.log = log
        self.records = records or Records()
        self.limits = limits or Limits()
        self._executor = Executor(graphs, log, checkpointer)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._why: dict[str, str] = {}
        self._kept: dict[str, int] = {}
        """The greatest id in the record of each run that another process began."""
        self._forgetting: set[asyncio.Future[None]] = set()
        self._order: dict[str, list[str]] = {}
        self._running = 0
        self._free = asyncio.Event()
        self._free.set()
        self._stopping = False
        for name in graphs:
            known = str(uuid5(_GRAPHS, name))
            if self.records.assistants.get(known) is None:
                metadata = {"created_by": "system"}
                made = Assistant(id=known, graph=name, name=name, metadata=metadata)
                self.records.assistants.save(made)

    # What there is

    @property
    def graphs(self) -> Mapping[str, Any]:
        """The graphs by name, each with the server's checkpointer."""
        return self._executor.graphs

    @property
    def active(self) -> int:
        """How many runs run now."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many runs wait for their turn."""
        return len(self._tasks) - self._running

    @property
    def events(self) -> int:
        """How many events were recorded by this process."""
        return self._executor.events

    @property
    def stopping(self) -> bool:
        """Whether the server is about to stop, and takes no more runs."""
        return self._stopping

    def get(self, run_id: str, owner: str = "") -> Run:
        """A run. Raises NotFoundError if it is not there, or another owner's."""
        run = self.records.runs.get(run_id)
        if run is None or run.owner != owner:
            raise NotFoundError(f"there is no run {run_id}")
        return run

    def thread(self, thread_id: str, owner: str = "") -> Thread:
        """A thread. Raises NotFoundError if it is not there, or another owner's."""
        thread = self.records.threads.get(thread_id)
        if thread is None or thread.owner != owner:
            raise NotFoundError(f"there is no thread {thread_id}")
        return thread

    def assistant(self, name: str, owner: str = "") -> Assistant:
        """An assistant by its id, or a graph's own by the graph's name. Raises NotFoundError."""
        known = str(uuid5(_GRAPHS, name)) if name in self.graphs else name
        found = self.records.assistants.get(known)
        if found is None or found.owner not in ("", owner) or found.graph not in self.graphs:
            there = ", ".join(self.graphs)
            raise NotFoundError(f"there is no assistant {name!r}; graphs here: {there}")
        return found

    def is_live(self, run_id: str) -> bool:
        """Whether a run waits, runs, or is just being ended."""
        return run_id in self._tasks

    # The life of a run

    async def start(
        self,
        request: RunRequest,
        *,
        owner: str = "",
        thread_id: str | None = None,
        assistant_id: str | None = None,
        strategy: str = "enqueue",
        temporary: bool | None = None,
        metadata: dict[str, Any] | None = None,
        after_seconds: float = 0.0,
    ) -> Run:
        """Start a run, and return at once; read it with ``follow``.

        Args:
            request: What to do.
            owner: Whose run it is; "" where there are no API keys.
            thread_id: The thread to run on, which is made if it is not there. None for a thread
                of its own that goes when the run ends (its checkpoints, not its events).
            assistant_id: Whose config to add; the graph's own assistant if None.
            strategy: When the thread is busy: ``enqueue`` waits, ``reject`` refuses,
                ``interrupt`` stops what runs and keeps what it did, ``rollback`` stops it and
                forgets the run.
            temporary: Whether the thread goes when the run ends; so if it was made here.
            metadata: Kept with the run.
            after_seconds: Wait that long first.

        Raises:
            InvalidError: If the request cannot be understood, or there is no such graph.
            ConflictError: If the thread is busy, with ``reject``.
            TooBusyError: If too many runs wait already, or the server is stopping.
        """
        if self._stopping:
            raise TooBusyError("the server is stopping; try again in a moment")
        if self.waiting >= self.limits.queue:
            raise TooBusyError("too many runs are waiting; try again later")
        self._executor.check(request)
        if thread_id is None:
            temporary = temporary is not False
            thread_id = new_id()
        check_id("thread_id", thread_id)
        if self.records.owner_of(thread_id) not in (None, owner):
            raise NotFoundError(f"there is no thread {thread_id}")
        known = self.records.threads.get(thread_id)
        busy = list(self._order.get(thread_id, ()))
        if busy and strategy == "reject":
            raise ConflictError("the thread is busy with another run; wait for it, or cancel it")
        if strategy not in ("enqueue", "reject", "interrupt", "rollback"):
            raise InvalidError("multitask_strategy is enqueue, reject, interrupt or rollback")
        assistant = self.assistant(assistant_id or request.graph, owner)
        run = Run(
            id=new_id(),
            thread_id=thread_id,
            request=request,
            assistant_id=assistant.id,
            owner=owner,
            temporary=bool(temporary),
            metadata=metadata or {},
            strategy=strategy,
        )
        if not run.temporary:
            thread = known or Thread(id=thread_id, owner=owner)
            thread.graph = request.graph
            about = {"graph_id": request.graph, "assistant_id": assistant.id}
            thread.metadata = {**thread.metadata, **about}  # copies of a thread share the old one
            thread.status = "busy"
            self.records.threads.save(thread)
        self.log.open(run.id)
        self.records.runs.save(run)
        if strategy in ("interrupt", "rollback"):
            for other in busy:
                self._cancel(other, undo=strategy == "rollback")
        self._begin(run, after_seconds)
        await self.log.saved(run.id)  # whoever is told of a run finds it again, whatever happens
        return run

    async def follow(self, run_id: str, after: int | None = None) -> AsyncIterator[Event]:
        """The events of a run with ids greater than ``after`` (None: all), live to its end.

        Leaving stops the reading, never the run. A run of which nothing is kept has no events.
        """
        async for events in self.log.follow(run_id, after or 0):
            for event in events:
                yield event

    async def cancel(
        self, run_id: str, owner: str = "", *, wait: bool = False, undo: bool = False
    ) -> None:
        """Stop a run: its provider's connection is closed, its status becomes ``interrupted``.

        With ``undo`` its checkpoints go, and its record: the thread is as it was before.

        Raises:
            NotFoundError: If it is not there, or over.
        """
        run = self.get(run_id, owner)
        if run.final:
            raise NotFoundError(f"run {run_id} is over")
        self._cancel(run_id, undo=undo)
        if undo:
            await self.log.saved()  # whatever happens, it is not gone on with
        if wait:
            await self.wait(run_id, owner)

    async def wait(self, run_id: str, owner: str = "") -> Run:
        """The run, when it is over. Leaving stops the waiting, never the run.

        Raises CutOffError if the server stops before it is over.
        """
        run = self.get(run_id, owner)
        while not run.final and (task := self._tasks.get(run_id)) is not None:
            await asyncio.wait([task])
        if not run.final:
            raise CutOffError("the server is stopping; the run goes on at its next start")
        return run

    async def state(self, run_id: str, owner: str = "") -> Any:
        """What a run that is over gave: the last ``values`` it recorded, else its thread's.

        None if it recorded none and its thread is gone.
        """
        run = await self.wait(run_id, owner)
        if "values" in run.request.modes:
            last = await self.log.newest(run_id, "values")
            if last is not None:
                return last.value
        thread = self.records.threads.get(run.thread_id)
        return thread.values if thread is not None else None

    async def forget(self, run_id: str, owner: str = "") -> None:
        """Remove a run and its events. Raises ConflictError while it is not over."""
        run = self.get(run_id, owner)
        if not run.final:
            raise ConflictError("the run is not over; cancel it first")
        self.records.runs.remove(run_id)
        await self.log.delete(run_id)

    async def copy_thread(self, thread_id: str, owner: str = "") -> Thread:
        """A new thread with what a thread holds: metadata, state and history, no runs."""
        known = self.thread(thread_id, owner)
        made = msgspec.structs.replace(known, id=new_id(), created_at=now())
        made.status = "interrupted" if known.interrupts else "idle"
        await self._executor.copy(thread_id, made.id)
        self.records.threads.save(made)
        await self.log.saved()
        return made

    async def forget_thread(self, thread_id: str, owner: str = "") -> None:
        """Remove a thread with its runs, stopping them, their events and its checkpoints."""
        self.thread(thread_id, owner)
        for run in self.records.runs_of(thread_id, owner):
            if not run.final:
                await self.cancel(run.id, run.owner, wait=True)
            await self.forget(run.id, run.owner)
        # The record goes last: until then nobody else can use the id, and read what is there.
        await self._executor.forget(thread_id)
        self.records.threads.remove(thread_id)

    # The server's life

    async def resume(self) -> int:
        """Go on with the runs that a former process left unfinished; how many there are.

        Their records are open when this returns. Before that a reader who comes back would be told
        that there is nothing more, and take the run for over.
        """
        for run in self.records.runs.all():
            if run.undone and run.final:  # all but this had been done
                await self.forget(run.id, run.owner)
        left = [run for run in self.records.runs.all() if not run.final]
        for run in left:
            if run.request.graph not in self.graphs:
                await self.log.reopen(run.id)
                reason = f"the server was started again without the graph {run.request.graph!r}"
                error = {"error": "GraphMissing", "message": reason}
                self._finish(run, Outcome("error", error))
                continue
            if run.undone:
                await self.log.reopen(run.id)
                await self._executor.undo(run)
                outcome = Outcome("interrupted")
                await self._executor.settle(run, outcome)
                self._finish(run, outcome)
                await self.forget(run.id, run.owner)
                continue
            if run.status == "running":
                run.attempt += 1
                self._kept[run.id] = await self.log.reopen(run.id)
            else:
                self.log.open(run.id)
            if (thread := self.records.threads.get(run.thread_id)) is not None:
                thread.status = "busy"
            self._begin(run, 0.0)
        return len(left)

    async def drain(self) -> None:
        """Take no more runs; let those there are finish, then stop them, to be resumed later."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=self.limits.drain_seconds)
        for run_id in list(self._tasks):
            self._stop(run_id, _RESUMABLE)
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=10)

    # Inside

    def _begin(self, run: Run, after_seconds: float) -> None:
        self._order.setdefault(run.thread_id, []).append(run.id)
        task = asyncio.get_running_loop().create_task(self._live(run, after_seconds))
        self._tasks[run.id] = task
        task.add_done_callback(lambda done: self._gone(run, done))

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
                forgetting = asyncio.ensure_future(self.forget(run.id, run.owner))
                self._forgetting.add(forgetting)
                forgetting.add_done_callback(self._forgetting.discard)
        self._tasks.pop(run.id, None)
        order = self._order[run.thread_id]
        order.remove(run.id)
        if not order:
            del self._order[run.thread_id]

    def stop(self, run_id: str) -> None:
        """As ``cancel``, without a word if the run is over."""
        self._stop(run_id, "cancel")

    def _cancel(self, run_id: str, *, undo: bool) -> None:
        run = self.records.runs.get(run_id)
        if undo and run is not None and run_id in self._tasks:
            run.undone = True
            self.records.runs.save(run)
        self._stop(run_id, "cancel")

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
                self.records.runs.save(run)
                outcome = await self._timed(run)
        except asyncio.CancelledError:
            if self._why.get(run.id) == _RESUMABLE or run.id not in self._why:
                self.log.suspend(run.id)  # it stays unfinished, for the next process
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
            await self.forget(run.id, run.owner)

    async def _turn(self, run: Run) -> None:
        """Wait until the thread's earlier runs are over."""
        while (first := self._order[run.thread_id][0]) != run.id:
            await asyncio.wait([self._tasks[first]])
            await asyncio.sleep(0)  # its callbacks

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        while self._running >= self.limits.runs:
            self._free.clear()
            await self._free.wait()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._free.set()

    async def _timed(self, run: Run) -> Outcome:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self.limits.run_seconds, self._stop, run.id, "timeout")
        try:
            assistant = self.assistant(run.assistant_id, run.owner)
            return await self._executor.execute(run, assistant, self._kept.pop(run.id, 0))
        finally:
            timer.cancel()

    def _finish(self, run: Run, outcome: Outcome) -> None:
        run.status = outcome.status
        run.error = outcome.error
        if outcome.status == "timeout":
            limit = self.limits.run_seconds
            run.error = {"error": "TimeoutError", "message": f"the run took over {limit:g} s"}
        self.records.runs.save(run)
        thread = self.records.threads.get(run.thread_id)
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
            self.records.threads.save(thread)
        if run.error is not None:
            self.log.append(run.id, "error", encode(run.error))
        self.log.append(run.id, END, encode({"status": run.status}))
