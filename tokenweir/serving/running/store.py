"""The store: records of runs, threads and assistants, and which worker holds which run.

This is the interface that every home implements; ``local_store.py`` does it in memory and next to
SQLite. Records returned are copies: to change one, call the store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from tokenweir.serving.log.events import EventWriter
from tokenweir.serving.problems import Limits
from tokenweir.serving.running.records import Assistant, Run, RunStatus, Thread
from tokenweir.serving.running.searches import AssistantSearch, ThreadSearch

__all__ = ["Counts", "Hold", "Outcome", "Store"]


@dataclass(frozen=True)
class Hold:
    """A run that a worker has claimed.

    Attributes:
        run: The run as it was when it was claimed. If ``run.stopping``, it must be ended without
            being executed; if ``run.undone``, also undone.
        epoch: Grows with each claim of the run, from 1. Every write of the run carries it.
        waited: Seconds without a holder: since it was due, or since its last holder's last
            heartbeat. None if unknown, or if the run must only be ended.
    """

    run: Run
    epoch: int
    waited: float | None = None


@dataclass
class Outcome:
    """How a run ended, and the state of its thread."""

    status: RunStatus
    error: dict[str, str] | None = None
    values: Any = None
    """None keeps the values that the thread has."""
    interrupts: dict[str, Any] = field(default_factory=dict)
    next: tuple[str, ...] = ()
    """The nodes that the graph is interrupted before."""
    undone: bool = False
    """Whether the run's checkpoints were removed, as ``request_cancel`` may have asked."""


@dataclass(frozen=True)
class Counts:
    """How many records there are.

    Attributes:
        runs: Runs by status.
        waiting: Pending runs that are due.
        threads: Threads.
        servers: Live servers; None if there can only be this one.
        oldest: Seconds since the oldest waiting run became due; 0 if none waits.
    """

    runs: Mapping[str, int]
    waiting: int
    threads: int
    servers: int | None = None
    oldest: float = 0.0


class Store(Protocol):
    """Records of runs, threads and assistants.

    Each method is one transaction. With an owner given, records of other owners do not exist:
    NotFoundError. Any method raises StoreError if the store fails at the moment; then nothing was
    changed, as far as is known.
    """

    # Runs, for clients

    async def create(self, run: Run, limits: Limits) -> None:
        """Save a new run as pending, after the other runs of its thread.

        The thread is created if there is none, unless ``run.temporary``. It is busy from now on,
        unless the run is not due yet. When this returns, the run survives a crash.

        Raises:
            NotFoundError: If the thread's id is another owner's.
            ConflictError: If the run's strategy is ``reject`` and another run of the thread is due
                and has not ended; or the owner would have too many threads.
            TooBusyError: If too many runs of the owner wait.
            TooManyError: If too many runs of the owner are not due.
        """
        ...

    async def run(self, run_id: str, owner: str) -> Run:
        """A run with its whole request."""
        ...

    async def runs_of(
        self, thread_id: str, owner: str, *, status: str | None = None, limit: int, offset: int = 0
    ) -> list[Run]:
        """An owner's runs on a thread, newest first."""
        ...

    async def unfinished(
        self,
        owner: str,
        *,
        ids: Collection[str] | None = None,
        thread_id: str | None = None,
        status: str | None = None,
    ) -> list[Run]:
        """An owner's runs that have not ended, filtered by id, thread and status."""
        ...

    async def ended(self, run_id: str, owner: str) -> Run:
        """Wait until a run has ended, and return it. Raises CutOffError if the server stops first.

        A run that is deleted in the meantime is returned as last seen, with a final status.
        """
        ...

    async def latest(self, thread_id: str, owner: str) -> Run | None:
        """The run of a thread that began last; None if none has begun, or all are deleted."""
        ...

    async def next_turn(self, thread_id: str, owner: str, after: int) -> Run:
        """Wait for the first run of a thread with a greater turn to begin, and return it.

        Raises NotFoundError if the thread does not exist or is deleted; CutOffError if the server
        stops.
        """
        ...

    def tell_of_reader(self, run_id: str) -> None:
        """Notify other servers, without waiting, that a run has a new reader here."""
        ...

    def read_elsewhere(self, run_id: str, within: float) -> bool:
        """Whether a run got a reader at another server within so many seconds."""
        ...

    async def request_cancel(self, run_id: str, owner: str, *, undo: bool = False) -> None:
        """Have the worker that holds a run, or claims it for this, stop it; with ``undo``, undo it.

        With ``undo``, the request survives a crash when this returns. Raises NotFoundError if the
        run has ended.
        """
        ...

    async def forget(self, run_id: str, owner: str) -> None:
        """Delete an ended run and its events. Raises ConflictError if it has not ended."""
        ...

    # Workers

    async def claim(self, server: str, most: int) -> list[Hold]:
        """Claim runs that no live server holds: pending ones, and those of dead servers.

        - A run can be claimed if it is the first of its thread's due runs that have not ended: by
          the time they were due (created, if at once), then by the order of creation.
        - When a run with the strategy ``interrupt`` or ``rollback`` becomes due, the earlier ones
          of its thread are stopped (and undone), as by ``request_cancel``.
        - A run that must be stopped and has no holder can be claimed regardless of order; it does
          not count against ``most``.
        - A run that is claimed from a dead server counts this in ``lost``.
        - The epoch is one more than before, and equals the run's attempt. The status becomes
          ``running`` and the thread busy, except for runs that must only be ended.
        - A run that is first claimed for execution gets its turn; one that is ended without being
          executed gets it in ``finish``.
        """
        ...

    async def work(self, server: str) -> None:
        """Wait until there may be a run to claim or to stop for a server."""
        ...

    async def cancels(self, server: str) -> list[Run]:
        """The runs that a server holds and must stop."""
        ...

    async def heartbeat(self, server: str) -> None:
        """Renew a server's lease. A server whose lease has expired is dead."""
        ...

    async def leave(self, server: str) -> None:
        """End a server's lease: its runs may be claimed at once."""
        ...

    async def finish(self, hold: Hold, writer: EventWriter, outcome: Outcome) -> bool:
        """End a run: its status and error, its thread's state and its last events, all at once.

        The events are ``error``, if there is one, and ``end``. A run to be undone is removed with
        its events after its readers have seen them; but if ``outcome`` does not say that it was
        undone, nothing is changed, and this returns False. Raises LostError if another worker has
        claimed the run, or it has ended.
        """
        ...

    async def release(self, hold: Hold) -> None:
        """Give back a run that has not ended, for others to claim; do nothing if it was lost."""
        ...

    def stop(self) -> None:
        """Raise CutOffError in waiters of ``ended`` and ``next_turn`` here, as the server stops."""
        ...

    # Threads

    async def thread(self, thread_id: str, owner: str) -> Thread:
        """A thread."""
        ...

    async def create_thread(self, thread: Thread, limits: Limits) -> None:
        """Save a new thread. It survives a crash when this returns.

        Raises ConflictError if the id is in use, by any owner's thread or by another owner's runs;
        or the owner would have too many threads.
        """
        ...

    def locked(self, thread_id: str, owner: str) -> AbstractAsyncContextManager[Thread]:
        """A thread to change within the context, which saves it on exit.

        In the meantime, no run of it is claimed or finished. After an exception nothing is saved.
        """
        ...

    async def delete_thread(self, thread_id: str, owner: str) -> None:
        """Delete a thread's record. Raises ConflictError if it has runs."""
        ...

    async def search_threads(self, owner: str, search: ThreadSearch) -> tuple[list[Thread], int]:
        """One page of an owner's threads, and how many there are on all pages."""
        ...

    # Assistants

    async def assistant(self, assistant_id: str) -> Assistant | None:
        """An assistant of any owner; None if there is none."""
        ...

    async def create_assistant(self, assistant: Assistant, most: int | None = None) -> None:
        """Save a new assistant.

        Raises ConflictError if its id is in use, or its owner already has ``most``.
        """
        ...

    async def save_assistant(self, assistant: Assistant) -> None:
        """Save a changed assistant. Raises NotFoundError if it was deleted."""
        ...

    async def delete_assistant(self, assistant_id: str) -> None:
        """Delete an assistant, if it exists."""
        ...

    async def search_assistants(
        self, owner: str, search: AssistantSearch
    ) -> tuple[list[Assistant], int]:
        """One page of the assistants that an owner sees, and the number of all.

        These are the owner's, and the graphs' default ones, which have no owner.
        """
        ...

    # Retention and statistics

    async def counts(self) -> Counts:
        """How many records there are, of all owners."""
        ...

    async def old_runs(self, limit: int, offset: int = 0) -> Sequence[Run]:
        """Ended runs of all owners, oldest first; their requests may be left out."""
        ...

    async def old_threads(self, before: str, limit: int) -> Sequence[Thread]:
        """Threads without runs that were last changed before a time, oldest first."""
        ...
