"""Runs of graphs by name: clients start them, the event log records them, clients read them.

A run belongs to no connection. The store keeps its record; a worker executes it.
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
from tokenweir.serving.running.execution import check, check_checkpoint, with_checkpointer
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.ids import check_id, new_id
from tokenweir.serving.running.records import Assistant, Run, RunRequest, Thread, now
from tokenweir.serving.running.worker import Worker
from tokenweir.streaming.guard import Guard

__all__ = ["Runs"]

_GRAPHS = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""The namespace for ids of graphs' default assistants, as in LangGraph's server."""

_PAGE = 100
"""Runs of a thread deleted per page."""


class Runs:
    """The runs of a home, as the clients of one server see them.

    A run is ``pending`` while its thread or the servers are busy, then ``running``, then
    ``success``, ``error``, ``timeout`` or ``interrupted`` (by a node or by ``cancel``). Its last
    event is ``end``; its status is final before that event can be read.

    As a context manager it executes runs: entering claims what former processes left unfinished,
    and leaving gives running ones ``limits.drain_seconds`` to finish.

    Attributes:
        graphs: The graphs by name, each with the home's checkpointer.
        store: The records of runs, threads and assistants.
        log: The events of all runs.
        checkpoints: The states of all threads.
        items: LangGraph's key-value store.
        limits: The limits of this server.
        worker: Executes runs here.
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
            with contextlib.suppress(ConflictError):  # it exists already
                await self.store.create_assistant(own)
        await self.worker.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.worker.drain()

    # Records

    async def get(self, run_id: str, owner: str = "") -> Run:
        """A run. Raises NotFoundError if there is none, or it is another owner's."""
        return await self.store.run(run_id, owner)

    async def thread(self, thread_id: str, owner: str = "") -> Thread:
        """A thread. Raises NotFoundError if there is none, or it is another owner's."""
        return await self.store.thread(thread_id, owner)

    async def assistant(self, name: str, owner: str = "") -> Assistant:
        """An assistant by id, or a graph's default one by the graph's name, or NotFoundError."""
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
        """Start a run and return at once; read it with ``follow``.

        Args:
            request: What to run.
            owner: The owner of the run; "" if there are no API keys.
            thread_id: The thread to run on, created if there is none. None for a temporary thread,
                whose checkpoints, but not its events, are deleted when the run ends.
            assistant_id: The assistant whose config is used; the graph's default one if None.
            strategy: What to do if the thread is busy: ``enqueue`` waits, ``reject`` refuses,
                ``interrupt`` stops the running ones and keeps what they did, ``rollback`` stops
                and undoes them.
            temporary: Whether to delete the thread when the run ends; by default, if ``thread_id``
                is None.
            metadata: Kept with the run.
            after_seconds: How long to wait first. Until then, the run neither holds up nor stops
                other runs of its thread.

        Raises:
            InvalidError: If the request is invalid, or there is no such graph or checkpoint.
            NotFoundError: If the thread of ``request.checkpoint_id`` does not exist, or is another
                owner's.
            ConflictError: If the thread is busy, with ``reject``; or there are too many threads.
            TooBusyError: If too many runs of the owner wait, or the server is stopping.
            TooManyError: If too many runs of the owner are not due.
            StoreError: If the run cannot be saved.
        """
        if self.worker.stopping:
            raise TooBusyError("the server is stopping; try again in a moment")
        check(self.graphs, request, metadata or {})
        if self._guarded and "events" in request.modes:
            raise InvalidError("this server's guards do not cover the stream mode events")
        if thread_id is None:
            if request.checkpoint_id:
                raise InvalidError("checkpoint_id needs a thread, and this run gets a new one")
            temporary = temporary is not False
            thread_id = new_id()
        check_id("thread_id", thread_id)
        if strategy not in ("enqueue", "reject", "interrupt", "rollback"):
            raise InvalidError("multitask_strategy is enqueue, reject, interrupt or rollback")
        assistant = await self.assistant(assistant_id or request.graph, owner)
        if request.checkpoint_id:
            thread = await self.thread(thread_id, owner)
            await check_checkpoint(self.graphs[request.graph], thread.id, request.checkpoint_id)
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
        """The events of a run after the id ``after`` (None: all), live until it ends.

        Leaving stops the reading, never the run. A deleted run has no events.
        """
        async for events in self.log.follow(run_id, after or 0):
            for event in events:
                yield event

    async def cancel(
        self, run_id: str, owner: str = "", *, wait: bool = False, undo: bool = False
    ) -> None:
        """Stop a run: the connection to its provider is closed, and its status is ``interrupted``.

        With ``undo``, its checkpoints and its record are removed; the thread is as before the run.

        Raises:
            NotFoundError: If there is no such run, or it has ended.
        """
        await self.store.request_cancel(run_id, owner, undo=undo)
        if wait:
            with contextlib.suppress(NotFoundError):  # it was undone, so it is gone
                await self.wait(run_id, owner)

    def cancel_soon(self, run: Run) -> None:
        """Stop a run whose client has disconnected; do nothing if it has ended."""

        async def cancel() -> None:
            with contextlib.suppress(NotFoundError, StoreError):
                await self.cancel(run.id, run.owner)

        task = asyncio.get_running_loop().create_task(cancel())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def wait(self, run_id: str, owner: str = "") -> Run:
        """Wait for a run's end and return the run. Leaving stops the waiting, never the run.

        Raises CutOffError if the server stops first.
        """
        return await self.store.ended(run_id, owner)

    async def result(self, run_id: str, owner: str = "") -> tuple[Run, Any]:
        """Wait for a run's end; return it with the last ``values`` it recorded, else its thread's.

        The values are None if it recorded none and its thread is deleted.
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
        """Delete a run and its events. Raises ConflictError if it has not ended."""
        await self.store.forget(run_id, owner)

    async def copy_thread(self, thread_id: str, owner: str = "") -> Thread:
        """Create a copy of a thread: metadata, state and history, without runs."""
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
        """Delete a thread with its checkpoints and its runs; stop those that have not ended."""
        await self.thread(thread_id, owner)
        if self.log.problem is not None:
            raise StoreError
        while runs := await self.store.runs_of(thread_id, owner, limit=_PAGE):
            for run in runs:
                with contextlib.suppress(NotFoundError):  # it has ended or was deleted since
                    if not run.final:
                        await self.cancel(run.id, run.owner, wait=True)
                with contextlib.suppress(NotFoundError):
                    await self.forget(run.id, run.owner)
        # The record goes last: it keeps other owners from using the id while data are left.
        await self.checkpoints.adelete_thread(thread_id)
        await self.store.delete_thread(thread_id, owner)

    async def size(self) -> int:
        """The size of all events, and of all checkpoints in a file, in bytes."""
        return self.log.size + await self.checkpoints.asize()

    async def tidy(self) -> None:
        """Return the space of deleted data to the disk."""
        await self.log.tidy()
        await self.checkpoints.atidy()


def _own_id(graph: str) -> str:
    """The id of a graph's default assistant."""
    return str(uuid5(_GRAPHS, graph))
