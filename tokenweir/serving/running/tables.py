"""Records of a store in memory, with their changes written to a journal. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import msgspec

from tokenweir.serving.running.records import (
    Assistant,
    Run,
    RunRequest,
    RunStatus,
    Thread,
    now,
)

__all__ = ["Journal", "RunTable", "Table", "ThreadTable"]


class Journal(Protocol):
    """Keeps records on disk. Writes happen in order, without waiting."""

    def save(self, table: str, id: str, record: bytes) -> None:
        """Write a record, replacing an older one with its id."""
        ...

    def remove(self, table: str, id: str) -> None:
        """Delete a record."""
        ...

    async def read(self, table: str, id: str) -> bytes | None:
        """A record as last written, which may be outdated; None if there is none."""
        ...

    def load(self, table: str) -> Iterable[bytes]:
        """All records of a table, oldest first. It may be slow; called once, at the start."""
        ...


R = TypeVar("R", Run, Thread, Assistant)


class Table(Generic[R]):
    """Records of one type by id, oldest first."""

    def __init__(self, name: str, kind: type[R], journal: Journal) -> None:
        self._name = name
        self._journal = journal
        self._records: dict[str, R] = {}
        for data in journal.load(name):
            self._keep(msgspec.json.decode(data, type=kind))

    def get(self, id: str) -> R | None:
        return self._records.get(id)

    def __iter__(self) -> Iterator[R]:
        """All records, oldest first. Add and remove none while iterating."""
        return iter(self._records.values())

    def save(self, record: R) -> R:
        """Save a new or changed record."""
        record.updated_at = now()
        self._journal.save(self._name, record.id, msgspec.json.encode(record))
        self._keep(record)
        return record

    def remove(self, id: str) -> None:
        if self._records.pop(id, None) is not None:
            self._journal.remove(self._name, id)

    def __len__(self) -> int:
        return len(self._records)

    def _keep(self, record: R) -> None:
        self._records[record.id] = record


class RunTable(Table[Run]):
    """Runs by id and by thread, with counts by status.

    The full requests of ended runs are only in the journal: inputs are large, and runs are many.
    """

    def __init__(self, journal: Journal) -> None:
        self._on_thread: dict[str, list[str]] = {}
        self._status: dict[str, RunStatus] = {}
        self.by_status = Counter[str]()
        self.pending_of = Counter[str]()
        """By owner: the number of pending runs."""
        super().__init__("runs", Run, journal)

    def on_thread(self, thread_id: str) -> list[Run]:
        """A thread's runs, oldest first."""
        return [self._records[run_id] for run_id in self._on_thread.get(thread_id, ())]

    async def whole(self, run: Run) -> Run:
        """A copy of a run with its whole request."""
        found = msgspec.structs.replace(run)
        if run.final:
            data = await self._journal.read(self._name, run.id)
            if data is not None:
                known = msgspec.json.decode(data, type=Run)
                found.request, found.metadata = known.request, known.metadata
        return found

    def remove(self, id: str) -> None:
        if (run := self.get(id)) is not None:
            self._count(run, None)
            others = self._on_thread[run.thread_id]
            others.remove(id)
            if not others:
                del self._on_thread[run.thread_id]
        super().remove(id)

    def _keep(self, record: Run) -> None:
        if record.id not in self._records:
            self._on_thread.setdefault(record.thread_id, []).append(record.id)
        self._count(record, record.status)
        super()._keep(record)
        if record.final:
            asked = record.request
            record.request = RunRequest(
                graph=asked.graph, modes=asked.modes, asked=asked.asked, subgraphs=asked.subgraphs
            )
            record.metadata = {}

    def _count(self, run: Run, status: RunStatus | None) -> None:
        """Count a run under its new status instead of the old; None if it is removed."""
        before = self._status.pop(run.id, None)
        for each, more in ((before, -1), (status, 1)):
            if each is not None:
                self.by_status[each] += more
                self.pending_of[run.owner] += more * (each == "pending")
        if status is not None:
            self._status[run.id] = status


class ThreadTable(Table[Thread]):
    """Threads by id, with the number of each owner's."""

    def __init__(self, journal: Journal) -> None:
        self._owned = Counter[str]()
        super().__init__("threads", Thread, journal)

    def owned(self, owner: str) -> int:
        """The number of an owner's threads."""
        return self._owned[owner]

    def remove(self, id: str) -> None:
        if (thread := self.get(id)) is not None:
            self._owned[thread.owner] -= 1
        super().remove(id)

    def _keep(self, record: Thread) -> None:
        if record.id not in self._records:
            self._owned[record.owner] += 1
        super()._keep(record)
