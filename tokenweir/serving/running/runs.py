"""Runs of graphs by name: started by whoever asks, recorded in the event log, read by anybody.

A run belongs to no connection. When it runs, and how it ends, is ``worker.py``'s matter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID, uuid5

import msgspec

from tokenweir.serving.log.events import Event, EventLog
from tokenweir.serving.problems import (
    ConflictError,
    CutOffError,
    InvalidError,
    Limits,
    NotFoundError,
    StoreError,
    TooBusyError,
    TooManyError,
)
from tokenweir.serving.running.execution import Executor
from tokenweir.serving.running.ids import check_id, new_id
from tokenweir.serving.running.records import Assistant, Records, Run, RunRequest, Thread, now
from tokenweir.serving.running.worker import Worker

__all__ = ["Runs"]

_GRAPHS = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""What the ids of graphs' own assistants are made from, as LangGraph's server makes them."""


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
        self.worker = Worker(self._executor, log, self.records, self.limits)
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
    def events(self) -> int:
        """How many events were recorded by this process."""
        return self._executor.events

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
            after_seconds: Wait that long first. Until then it holds up no other run of its
                thread, and stops none.

        Raises:
            InvalidError: If the request cannot be understood, or there is no such graph.
            ConflictError: If the thread is busy, with ``reject``; or it would be one too many.
            TooBusyError: If too many runs of the owner wait already, or the server is stopping.
            TooManyError: If too many runs of the owner are not due.
            StoreError: If it cannot be written down.
        """
        if self.worker.stopping:
            raise TooBusyError("the server is stopping; try again in a moment")
        self._check_writable()
        self._check_waiting(owner, after_seconds)
        self._executor.check(request, metadata or {})
        if thread_id is None:
            temporary = temporary is not False
            thread_id = new_id()
        check_id("thread_id", thread_id)
        if self.records.owner_of(thread_id) not in (None, owner):
            raise NotFoundError(f"there is no thread {thread_id}")
        known = self.records.threads.get(thread_id)
        if strategy == "reject" and self.worker.on_thread(thread_id):
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
            due_at=now(after_seconds) if after_seconds else None,
        )
        if not run.temporary:
            if known is None:
                self.check_threads(owner)
            thread = known or Thread(id=thread_id, owner=owner)
            thread.graph = request.graph
            about = {"graph_id": request.graph, "assistant_id": assistant.id}
            thread.metadata = {**thread.metadata, **about}  # copies of a thread share the old one
            if not after_seconds:
                thread.status = "busy"
            self.records.threads.save(thread)
        self.log.open(run.id)
        self.records.runs.save(run)
        self.worker.take(run)
        try:  # whoever is told of a run finds it again, whatever happens
            await self.log.saved(run.id, patient=False)
        except StoreError:
            self.worker.cancel(run.id, undo=True)
            raise
        return run

    def _check_writable(self) -> None:
        if self.log.problem is not None:
            raise StoreError

    def check_threads(self, owner: str) -> None:
        """Raise ConflictError if an owner has as many threads as there may be."""
        if self.records.threads.owned(owner) >= self.limits.threads:
            raise ConflictError(
                f"there are {self.limits.threads} threads already, which is the most; delete some"
            )

    def _check_waiting(self, owner: str, after_seconds: float) -> None:
        waiting, delayed = self.worker.waiting_of(owner)
        if after_seconds and delayed >= self.limits.delayed:
            raise TooManyError(
                f"{delayed} runs wait for their time (after_seconds) already, which is the most; "
                "cancel some, or wait until some are due"
            )
        if waiting >= self.limits.queue:
            raise TooBusyError("too many runs are waiting; try again later")

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
        self.worker.cancel(run_id, undo=undo)
        if undo:
            await self.log.saved(patient=False)  # whatever happens, it is not gone on with
        if wait:
            await self.wait(run_id, owner)

    async def wait(self, run_id: str, owner: str = "") -> Run:
        """The run, when it is over. Leaving stops the waiting, never the run.

        Raises CutOffError if the server stops before it is over.
        """
        run = self.get(run_id, owner)
        await self.worker.ended(run)
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
        self._check_writable()
        await self.worker.forget(run)

    async def copy_thread(self, thread_id: str, owner: str = "") -> Thread:
        """A new thread with what a thread holds: metadata, state and history, no runs."""
        known = self.thread(thread_id, owner)
        self._check_writable()
        self.check_threads(owner)
        made = msgspec.structs.replace(known, id=new_id(), created_at=now())
        made.status = "interrupted" if known.interrupts else "idle"
        await self._executor.copy(thread_id, made.id)
        self.records.threads.save(made)
        await self.log.saved(patient=False)
        return made

    async def forget_thread(self, thread_id: str, owner: str = "") -> None:
        """Remove a thread with its runs, stopping them, their events and its checkpoints."""
        self.thread(thread_id, owner)
        self._check_writable()
        for run in self.records.runs_of(thread_id, owner):
            if not run.final:
                await self.cancel(run.id, run.owner, wait=True)
            await self.forget(run.id, run.owner)
        # The record goes last: until then nobody else can use the id, and read what is there.
        await self._executor.forget(thread_id)
        self.records.threads.remove(thread_id)

    async def size(self) -> int:
        """Bytes of all events, and of all checkpoints in a file."""
        return self.log.size + await self._executor.size()

    async def tidy(self) -> None:
        """Give the space of what was forgotten back to the disk."""
        await self.log.tidy()
        await self._executor.tidy()
