"""The store: what is known of runs, threads and assistants, and which worker holds which run.

The interface, as every home has it: ``local_store.py`` in memory and beside SQLite. What is given
back is a copy: to change a record, call the store.
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
        run: As it was when it was claimed. ``run.stopping`` says that it is to be ended and not
            executed, ``run.undone`` that it is to be undone then.
        epoch: Greater with each claim of the run, from 1. Every write of the run carries it.
        waited: Seconds for which nobody held it, since it was due, or since the last sign of life
            of who did; None if that is not known, or it is only to be ended.
    """

    run: Run
    epoch: int
    waited: float | None = None


@dataclass
class Outcome:
    """How a run ended, and what its thread holds then."""

    status: RunStatus
    error: dict[str, str] | None = None
    values: Any = None
    """None leaves the values that the thread has."""
    interrupts: dict[str, Any] = field(default_factory=dict)
    next: tuple[str, ...] = ()
    """The nodes before which the graph stands, for somebody to let it go on."""
    undone: bool = False
    """Whether the checkpoints of the run are gone, as ``request_cancel`` may have asked."""


@dataclass(frozen=True)
class Counts:
    """How much there is.

    Attributes:
        runs: Runs by status.
        waiting: Of those that are pending, how many are due.
        threads: Threads.
        servers: Servers that live; None where there is never more than this one.
        oldest: Seconds for which the oldest run that waits has been due; 0 if none waits.
    """

    runs: Mapping[str, int]
    waiting: int
    threads: int
    servers: int | None = None
    oldest: float = 0.0


class Store(Protocol):
    """Records of runs, threads and assistants.

    Each method is one transaction. Where an owner is given, what is another owner's is not there:
    NotFoundError. Any method raises StoreError if the store does not work just now; nothing was
    changed then, as far as can be known.
    """

    # Runs, as clients see them

    async def create(self, run: Run, limits: Limits) -> None:
        """Keep a new run, as pending, behind the others of its thread.

        Its thread is made if it is not there, unless ``run.temporary``; it is busy from now on,
        unless the run is not due. When this returns, the run survives the process.

        Raises:
            NotFoundError: If the thread's id is another owner's.
            ConflictError: If the run's strategy is ``reject`` and another run of the thread is due
                and not over; or the owner would have too many threads.
            TooBusyError: If too many runs of the owner wait already.
            TooManyError: If too many runs of the owner are not due.
        """
        ...

    async def run(self, run_id: str, owner: str) -> Run:
        """A run with all that it was asked."""
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
        """An owner's runs that are not over: of these ids, on this thread, with this status."""
        ...

    async def ended(self, run_id: str, owner: str) -> Run:
        """Wait until a run is over, and return it. Raises CutOffError if the server stops first.

        A run that is removed meanwhile is returned as it was last, with a final status.
        """
        ...

    async def latest(self, thread_id: str, owner: str) -> Run | None:
        """The run of a thread that began last; None if none has, or none is left."""
        ...

    async def next_turn(self, thread_id: str, owner: str, after: int) -> Run:
        """Wait until a run of a thread has begun whose turn is greater, and return the first.

        Raises NotFoundError if the thread is not there, or goes; CutOffError if the server stops.
        """
        ...

    def tell_of_reader(self, run_id: str) -> None:
        """Tell the other servers that somebody reads a run here from now on, without waiting."""
        ...

    def read_elsewhere(self, run_id: str, within: float) -> bool:
        """Whether somebody has begun to read a run at another server, in so many seconds."""
        ...

    async def request_cancel(self, run_id: str, owner: str, *, undo: bool = False) -> None:
        """Have a run stopped by whoever holds it, or claims it for that; and undone then.

        With ``undo`` the request survives the process when this returns. Raises NotFoundError if
        the run is over.
        """
        ...

    async def forget(self, run_id: str, owner: str) -> None:
        """Remove a run that is over, and its events. Raises ConflictError if it is not over."""
        ...

    # Workers

    async def claim(self, server: str, most: int) -> list[Hold]:
        """Hold runs that nobody holds: pending ones, and those of servers that are dead.

        - A run is claimed when it is due and the first of its thread's due runs that are not over:
          by the time at which they were due (created, if at once), then by the order of their
          creation.
        - A run that becomes due with the strategy ``interrupt`` or ``rollback`` has the earlier
          ones of its thread stopped (and undone), as ``request_cancel`` does.
        - A run that is to be stopped, and that nobody holds, is claimed whatever its order; it does
          not count against ``most``.
        - The epoch is one more than before, and is the run's attempt. Its status is ``running``,
          but of runs that are only to be ended. Its thread is busy.
        - A run that is claimed for the first time to be executed gets its turn; one that is ended
          without that gets it in ``finish``.
        """
        ...

    async def work(self, server: str) -> None:
        """Wait until there may be something to claim, or to stop, for a server."""
        ...

    async def cancels(self, server: str) -> list[Run]:
        """The runs that a server holds and is to stop."""
        ...

    async def heartbeat(self, server: str) -> None:
        """Say that a server lives. Without that for as long as its lease lasts, it is dead."""
        ...

    async def leave(self, server: str) -> None:
        """Say that a server is dead: what it holds may be claimed at once."""
        ...

    async def finish(self, hold: Hold, writer: EventWriter, outcome: Outcome) -> bool:
        """End a run: its status and error, its thread's state, and the last events, all at once.

        The events are ``error``, if there is one, and ``end``. A run that is to be undone is
        removed with its events, after its readers have seen them; if ``outcome`` does not say that
        it was undone, nothing happens, and this returns False. Raises LostError if the run is
        another worker's now, or over.
        """
        ...

    async def release(self, hold: Hold) -> None:
        """Give a run back that is not over: it may be claimed at once. Nothing if it is lost."""
        ...

    def stop(self) -> None:
        """Have all who wait in ``ended`` here get CutOffError: the server stops."""
        ...

    # Threads

    async def thread(self, thread_id: str, owner: str) -> Thread:
        """A thread."""
        ...

    async def create_thread(self, thread: Thread, limits: Limits) -> None:
        """Keep a new thread. It survives the process when this returns.

        Raises ConflictError if there is one of its id, whoever's, or runs of another owner use the
        id; or the owner would have too many.
        """
        ...

    def locked(self, thread_id: str, owner: str) -> AbstractAsyncContextManager[Thread]:
        """A thread, to be changed within the context, which saves it at its end.

        Meanwhile none of its runs is claimed or finished. Nothing is saved after an exception.
        """
        ...

    async def delete_thread(self, thread_id: str, owner: str) -> None:
        """Remove a thread's record. Raises ConflictError if runs of it are there."""
        ...

    async def search_threads(self, owner: str, search: ThreadSearch) -> tuple[list[Thread], int]:
        """One page of an owner's threads, and how many there are on all pages."""
        ...

    # Assistants

    async def assistant(self, assistant_id: str) -> Assistant | None:
        """An assistant, whoever's; None if it is not there."""
        ...

    async def create_assistant(self, assistant: Assistant, most: int | None = None) -> None:
        """Keep a new assistant.

        Raises ConflictError if there is one of its id, or its owner has ``most`` already.
        """
        ...

    async def save_assistant(self, assistant: Assistant) -> None:
        """Keep a changed assistant. Raises NotFoundError if it is gone."""
        ...

    async def delete_assistant(self, assistant_id: str) -> None:
        """Remove an assistant, if it is there."""
        ...

    async def search_assistants(
        self, owner: str, search: AssistantSearch
    ) -> tuple[list[Assistant], int]:
        """One page of the assistants that an owner sees, and how many there are on all pages.

        An owner sees his own, and the graphs' own, which have no owner.
        """
        ...

    # Keeping

    async def counts(self) -> Counts:
        """How much there is, of all owners."""
        ...

    async def old_runs(self, limit: int, offset: int = 0) -> Sequence[Run]:
        """Runs that are over, of all owners, oldest first. What they were asked may be left out."""
        ...

    async def old_threads(self, before: str, limit: int) -> Sequence[Thread]:
        """Threads without runs that were last changed before a time, oldest first."""
        ...
