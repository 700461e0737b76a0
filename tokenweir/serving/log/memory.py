"""The event log in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tokenweir.serving.log.events import END, Envelope, Event, EventReader, Scanner
from tokenweir.serving.log.local_writer import LocalWriter, Writers
from tokenweir.serving.log.tail import Tail

__all__ = ["MemoryLog"]


class MemoryLog:
    """An event log and a journal of records in memory; lost when the process ends.

    Events of ended runs are kept until the runs are deleted.
    """

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], bytes] = {}
        self._tails: dict[str, Tail] = {}
        self._writers = Writers()
        self._size = 0

    async def writer(
        self, run_id: str, epoch: int, on_lost: Callable[[], None] | None = None
    ) -> LocalWriter:
        writer = self._writers.enter(self, run_id, epoch, on_lost)
        self.open(run_id)
        writer.kept = self._tails[run_id].kept
        return writer

    def open(self, run_id: str) -> None:
        self._tails.setdefault(run_id, Tail())

    def take_up(self, run_id: str) -> None:
        self.open(run_id)

    def append(
        self,
        run_id: str,
        kind: str,
        body: bytes,
        *,
        envelope: Envelope | None = None,
        durable: bool = False,
    ) -> Event:
        tail = self._tails[run_id]
        event = tail.add(kind, body, envelope)
        tail.show(event.id)
        if kind == END:
            tail.end()
            self._writers.leave(run_id)
        self._size += len(body)
        if envelope is not None and envelope.id == event.id:
            self._size += len(envelope.head) + len(envelope.tail)
        return event

    def follow(self, run_id: str, after: int = 0) -> EventReader:
        tail = self._tails.get(run_id)
        if tail is None:
            tail = Tail()
            tail.end()
        return tail.follow(after)

    async def scan(self, run_id: str, upto: int, take: Scanner) -> None:
        if (tail := self._tails.get(run_id)) is not None:
            take(tail.between(0, upto), None)

    async def newest(self, run_id: str, kind: str) -> Event | None:
        tail = self._tails.get(run_id)
        return None if tail is None else tail.newest(kind)

    async def last_id(self, run_id: str) -> int:
        tail = self._tails.get(run_id)
        return 0 if tail is None else tail.shown

    @property
    def full(self) -> bool:
        return False

    async def ready(self) -> None:
        return

    async def saved(self, run_id: str | None = None, *, patient: bool = True) -> None:
        return

    async def delete(self, run_id: str) -> None:
        tail = self._tails.pop(run_id, None)
        self._writers.leave(run_id)
        if tail is not None:
            self._size -= tail.bytes()
            tail.end()

    def cut_off(self) -> None:
        for tail in self._tails.values():
            if not tail.ended:
                tail.suspend()

    # The journal

    def save(self, table: str, id: str, record: bytes) -> None:
        self.remove(table, id)
        self._records[table, id] = record
        self._size += len(record)

    def remove(self, table: str, id: str) -> None:
        self._size -= len(self._records.pop((table, id), b""))

    async def read(self, table: str, id: str) -> bytes | None:
        return self._records.get((table, id))

    def load(self, table: str) -> Iterable[bytes]:
        return [record for (kind, _), record in self._records.items() if kind == table]

    # The event log

    @property
    def size(self) -> int:
        return self._size

    @property
    def problem(self) -> str | None:
        return None

    async def tidy(self) -> None:
        return

    async def close(self) -> None:
        self.cut_off()
