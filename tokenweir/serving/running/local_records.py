"""Records of threads and assistants in one process, and helpers shared with those of runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import Protocol
from weakref import WeakValueDictionary

from msgspec.structs import replace

from tokenweir.serving.problems import ConflictError, Limits, NotFoundError, StoreError
from tokenweir.serving.running.records import Assistant, Run, Thread
from tokenweir.serving.running.searches import (
    AssistantSearch,
    ThreadSearch,
    find_assistants,
    find_threads,
)
from tokenweir.serving.running.store_rules import check_assistants, check_threads
from tokenweir.serving.running.tables import Journal, RunTable, Table, ThreadTable
from tokenweir.serving.running.turns import Turns

__all__ = ["LocalLog", "LocalRecords"]


class LocalLog(Journal, Protocol):
    """What a local store needs of its log."""

    def open(self, run_id: str) -> None:
        """Note a run that has not ended: its readers wait for events."""
        ...

    def take_up(self, run_id: str) -> None:
        """The same for a run that a former process began. It is slow; called at the start only."""
        ...

    async def delete(self, run_id: str) -> None:
        """Delete a run's events; its readers end."""
        ...

    async def saved(self, run_id: str | None = None, *, patient: bool = True) -> None:
        """Wait until all pending writes, of a run or of all, are durable.

        Unless ``patient``, raises StoreError if they cannot be written.
        """
        ...

    @property
    def problem(self) -> str | None:
        """Why nothing can be written at the moment; None if it can."""
        ...


class LocalRecords:
    """Threads and assistants, and the tables of all records."""

    def __init__(self, log: LocalLog) -> None:
        self._log = log
        self._runs = RunTable(log)
        self._threads = ThreadTable(log)
        self._assistants: Table[Assistant] = Table("assistants", Assistant, log)
        self._turns = Turns()
        self._work: dict[str, asyncio.Event] = {}
        """By server: an event that is set when there may be work."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By thread: the lock for changes of it."""

    # Threads

    async def thread(self, thread_id: str, owner: str) -> Thread:
        return replace(self._thread(thread_id, owner))

    async def create_thread(self, thread: Thread, limits: Limits) -> None:
        self._check_writable()
        async with self._lock(thread.id):
            owner = self._owner_of(thread.id)
            if owner not in (None, thread.owner) or self._threads.get(thread.id) is not None:
                raise ConflictError(f"there is already a thread {thread.id}")
            check_threads(self._threads.owned(thread.owner), limits)
            self._threads.save(replace(thread))
            try:
                await self._log.saved(patient=False)
            except StoreError:
                self._threads.remove(thread.id)
                raise

    @contextlib.asynccontextmanager
    async def locked(self, thread_id: str, owner: str) -> AsyncIterator[Thread]:
        async with self._lock(thread_id):
            found = replace(self._thread(thread_id, owner))
            self._turns.close(thread_id)
            try:
                yield found
                if self._threads.get(thread_id) is not None:
                    self._threads.save(found)
            finally:
                runs = self._runs.on_thread(thread_id)
                self._turns.open(thread_id, [run for run in runs if not run.final])
                self._tell()

    async def delete_thread(self, thread_id: str, owner: str) -> None:
        self._thread(thread_id, owner)
        if self._runs.on_thread(thread_id):
            raise ConflictError("a run was started on this thread in the meantime; try again")
        self._threads.remove(thread_id)

    async def search_threads(self, owner: str, search: ThreadSearch) -> tuple[list[Thread], int]:
        threads: Iterator[Thread] = iter(self._threads)
        if search.ids is not None:
            threads = filter(None, map(self._threads.get, dict.fromkeys(search.ids)))
        return find_threads((each for each in threads if each.owner == owner), search)

    # Assistants

    async def assistant(self, assistant_id: str) -> Assistant | None:
        found = self._assistants.get(assistant_id)
        return None if found is None else replace(found)

    async def create_assistant(self, assistant: Assistant, most: int | None = None) -> None:
        if self._assistants.get(assistant.id) is not None:
            raise ConflictError(f"there is already an assistant {assistant.id}")
        owned = sum(each.owner == assistant.owner and not each.own for each in self._assistants)
        check_assistants(owned, most)
        self._assistants.save(replace(assistant))

    async def save_assistant(self, assistant: Assistant) -> None:
        if self._assistants.get(assistant.id) is None:
            raise NotFoundError(f"there is no assistant {assistant.id}")
        self._assistants.save(replace(assistant))

    async def delete_assistant(self, assistant_id: str) -> None:
        self._assistants.remove(assistant_id)

    async def search_assistants(
        self, owner: str, search: AssistantSearch
    ) -> tuple[list[Assistant], int]:
        seen = (each for each in self._assistants if each.owner in ("", owner))
        return find_assistants(seen, search)

    # Retention

    async def old_runs(self, limit: int, offset: int = 0) -> Sequence[Run]:
        over = (run for run in self._runs if run.final)
        return [replace(run) for run in islice(over, offset, offset + limit)]

    async def old_threads(self, before: str, limit: int) -> Sequence[Thread]:
        old = (
            each
            for each in self._threads
            if each.updated_at < before and not self._runs.on_thread(each.id)
        )
        return [replace(each) for each in islice(old, limit)]

    # Inside

    def _lock(self, thread_id: str) -> asyncio.Lock:
        return self._locks.setdefault(thread_id, asyncio.Lock())

    def _tell(self) -> None:
        """Wake the servers: there may be work."""
        for event in self._work.values():
            event.set()

    def _check_writable(self) -> None:
        if self._log.problem is not None:
            raise StoreError

    def _owner_of(self, thread_id: str) -> str | None:
        """The owner of a thread's id: the first to use it, even without a record of the thread."""
        thread = self._threads.get(thread_id)
        if thread is not None:
            return thread.owner
        return next((run.owner for run in self._runs.on_thread(thread_id)), None)

    def _thread(self, thread_id: str, owner: str) -> Thread:
        thread = self._threads.get(thread_id)
        if thread is None or thread.owner != owner:
            raise NotFoundError(f"there is no thread {thread_id}")
        return thread
