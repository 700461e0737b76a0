"""Runs of graphs by name: started by whoever asks, recorded in the event log, read by anybody.

A run belongs to no connection. What is known of it is the store's; a worker executes it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

import msgspec

from tokenweir.serving.log.events import Event
from tokenweir.serving.problems import (
    ConflictError,
    InvalidError,
    Limits,
    NotFoundError,
    StoreError,
    TooBusyError,
)
from tokenweir.serving.running.execution import check, with_checkpointer
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.ids import check_id, new_id
from tokenweir.serving.running.records import Assistant, Run, RunRequest, Thread, now
from tokenweir.serving.running.worker import Worker
from tokenweir.streaming.guard import Guard

__all__ = ["Runs"]

_GRAPHS = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""What the ids of graphs' own assistants are made from, as LangGraph's server makes them."""

_PAGE = 100
"""Runs of a thread that are forgotten at once."""


class Runs:
    """The runs of a home, as the clients of one server see them.

    The life of a run: ``pending`` while its thread or the servers are busy, ``running``, then
    ``success``, ``error``, ``timeout`` or ``interrupted`` (by a node or by ``cancel``). Its last
    event is ``end``; its status is final before that can be read.

    As a context it executes runs: on entering it claims what former processes left unfinished; on
    leaving it lets those that run finish for ``limits.drain_seconds``.

    Attributes:
        graphs: The graphs by name, each with the home's checkpointer.
        store: What is known of runs, threads and assistants.
        log: The events of all runs.
        checkpoints: The states of all threads.
        items: LangGraph's key-value store.
        limits: How much the server takes on.
        worker: What executes runs here.
    """

    def __init__(
        self,
        graphs: Mapping[str, Any],
        home: Home,
        limits: Limits | None = None,
        guards: Sequence[Guard] = (),
    ) -> None:
        self.graphs = with_checkpointer(graphs, home.checkpoints)
        self.store = home.store
        self.log = home.log
        self.limits = limits or Limits()
        self._guarded = bool(guards)
        self.worker = Worker(graphs, home, self.limits, guards)
        self.checkpoints = home.checkpoints
        self.items = home.items
        self._leaving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Runs:
        for name in self.graphs:
            metadata = {"created_by": "system"}
            own = Assistant(id=_own_id(name), graph=name, name=name, metadata=metadata)
            with contextlib.suppress(ConflictError):  # it is there already
                await self.store.create_assistant(own)
        await self.worker.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.worker.drain()

    # What there is

    async def get(self, run_id: str, owner: str = "") -> Run:
        """A run. Raises NotFoundError if it is not there, or another owner's."""
        return await self.store.run(run_id, owner)

    async def thread(self, thread_id: str, owner: str = "") -> Thread:
        """A thread. Raises NotFoundError if it is not there, or another owner's."""
        return await self.store.thread(thread_id, owner)

    async def assistant(self, name: str, owner: str = "") -> Assistant:
        """An assistant by its id, or a graph's own by the graph's name. Raises NotFoundError."""
        found = await self.store.assistant(_own_id(name) if name in self.graphs else name)
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
        check(self.graphs, request, metadata or {})
        if self._guarded and "events" in request.modes:
            raise InvalidError("the stream mode events passes by this server's guards")
        if thread_id is None:
            temporary = temporary is not False
            thread_id = new_id()
        check_id("thread_id", thread_id)
        if strategy not in ("enqueue", "reject", "interrupt", "rollback"):
            raise InvalidError("multitask_strategy is enqueue, reject, interrupt or rollback")
        assistant = await self.assistant(assistant_id or request.graph, owner)
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
        await self.store.create(run, self.limits)
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
        await self.store.request_cancel(run_id, owner, undo=undo)
        if wait:
            with contextlib.suppress(NotFoundError):  # undone, and gone already
                await self.wait(run_id, owner)

    def cancel_soon(self, run: Run) -> None:
        """Stop a run whose client has left; no word if it is over."""

        async def cancel() -> None:
            with contextlib.suppress(NotFoundError, StoreError):
                await self.cancel(run.id, run.owner)

        task = asyncio.get_running_loop().create_task(cancel())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def wait(self, run_id: str, owner: str = "") -> Run:
        """The run, when it is over. Leaving stops the waiting, never the run.

        Raises CutOffError if the server stops before it is over.
        """
        return await self.store.ended(run_id, owner)

    async def result(self, run_id: str, owner: str = "") -> tuple[Run, Any]:
        """A run when it is over, and what it gave: the last ``values`` it recorded, else its
        thread's.

        None if it recorded none and its thread is gone.
        """
        run = await self.wait(run_id, owner)
        if "values" in run.request.modes:
            last = await self.log.newest(run_id, "values")
            if last is not None:
                return run, last.value
        try:
            return run, (await self.thread(run.thread_id, owner)).values
        except NotFoundError:
            return run, None

    async def forget(self, run_id: str, owner: str = "") -> None:
        """Remove a run and its events. Raises ConflictError while it is not over."""
        await self.store.forget(run_id, owner)

    async def copy_thread(self, thread_id: str, owner: str = "") -> Thread:
        """A new thread with what a thread holds: metadata, state and history, no runs."""
        known = await self.thread(thread_id, owner)
        made = msgspec.structs.replace(known, id=new_id(), created_at=now())
        made.status = "interrupted" if known.interrupts else "idle"
        await self.store.create_thread(made, self.limits)
        try:
            await self.checkpoints.acopy_thread(thread_id, made.id)
        except StoreError:
            await self.store.delete_thread(made.id, owner)
            raise
        return made

    async def forget_thread(self, thread_id: str, owner: str = "") -> None:
        """Remove a thread with its runs, stopping them, their events and its checkpoints."""
        await self.thread(thread_id, owner)
        if self.log.problem is not None:
            raise StoreError
        while runs := await self.store.runs_of(thread_id, owner, limit=_PAGE):
            for run in runs:
                with contextlib.suppress(NotFoundError):  # over, or gone, meanwhile
                    if not run.final:
                        await self.cancel(run.id, run.owner, wait=True)
                with contextlib.suppress(NotFoundError):
                    await self.forget(run.id, run.owner)
        # The record goes last: until then nobody else can use the id, and read what is there.
        await self.checkpoints.adelete_thread(thread_id)
        await self.store.delete_thread(thread_id, owner)

    async def size(self) -> int:
        """Bytes of all events, and of all checkpoints in a file."""
        return self.log.size + await self.checkpoints.asize()

    async def tidy(self) -> None:
        """Give the space of what was forgotten back to the disk."""
        await self.log.tidy()
        await self.checkpoints.atidy()


def _own_id(graph: str) -> str:
    """The id of a graph's own assistant."""
    return str(uuid5(_GRAPHS, graph))
