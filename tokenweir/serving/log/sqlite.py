"""The event log on disk: SQLite in WAL mode, written in batches by one thread.

Each run is written every ``_PACE`` seconds, and ``_SOON`` after one of its events must be durable.
A commit hands data to the operating system without waiting for the disk: it survives a killed
process, but a power failure may lose the last moments. The same thread writes the records of runs,
so all writes about a run are in their order. ``sqlite_file.py`` defines the file.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from tokenweir.serving.log.blocks import scan
from tokenweir.serving.log.events import END, Envelope, Event, EventReader, Scanner
from tokenweir.serving.log.file_watch import FileWatches
from tokenweir.serving.log.local_writer import LocalWriter, Writers
from tokenweir.serving.log.sqlite_file import Batch, SqliteFile, Waiting
from tokenweir.serving.log.sqlite_reader import SqliteReader
from tokenweir.serving.log.tail import Tail
from tokenweir.serving.log.wal import WalKeeper
from tokenweir.serving.problems import StoreError

__all__ = ["SqliteLog"]

T = TypeVar("T")

_PACE = 0.5
"""Seconds between two batches with a run's events. A killed process loses only events of
unfinished nodes: a node's events are saved before its checkpoint, see ``checkpoints.py``."""

_MOST_RUNS = 100
"""The runs of one batch, unless they are urgent. A batch delays all tokens: the thread competes for
Python to make it, and the loop notes what was written. More runs take turns within ``_PACE``."""

_SOON = 0.001
"""Seconds that an urgent batch waits for more. A run's claim comes right after the run, and its
checkpoint right after its last token; each batch costs a switch of threads."""

_MOST_WAITING = 16 << 20
"""The bytes that may wait for the disk before writers have to wait."""

_PAGE_SIZE = 4096
"""The page size of the file, in bytes."""

_RETRY = 0.5
"""Seconds until a failed batch is tried again."""

_logger = logging.getLogger("tokenweir.serving")


class SqliteLog:
    """An event log and a journal of records in a file, for one process at a time."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._file = SqliteFile(path)
        self._files = FileWatches(path)
        self._wal = WalKeeper(path)
        self._size = self._file.size()
        self._writer = ThreadPoolExecutor(1, "tokenweir-log")
        self._reader = ThreadPoolExecutor(1, "tokenweir-log-reader")
        self._tails: dict[str, Tail] = {}
        """The tails of runs that have not ended, or whose end is not on disk yet."""
        self._writers = Writers()
        self._unsaved: dict[str, deque[int]] = {}
        """By run: the ids of durable events that are not on disk yet."""
        self._next = Batch()
        self._urgent: set[str] = set()
        """Runs whose events must be written soon."""
        self._all_at = 0.0
        """When the runs that have waited longest must be written."""
        self._savers: list[asyncio.Future[None]] = []
        self._impatient: list[asyncio.Future[None]] = []
        """The waiters that get an error when a batch cannot be written."""
        self._waiting_ids: set[str] = set()
        """The ids of runs and records with statements that wait to be written."""
        self._being_written = (Batch(), set[str](), list[asyncio.Future[None]]())
        """The last batch, the ids of its statements, and its waiters."""
        self._waiting_bytes = 0
        self._timer: asyncio.Handle | None = None
        self._soon = False
        """Whether the timer is for an urgent batch."""
        self._writing: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._problem: str | None = None

    # The event log

    async def writer(
        self, run_id: str, epoch: int, on_lost: Callable[[], None] | None = None
    ) -> LocalWriter:
        writer = self._writers.enter(self, run_id, epoch, on_lost)
        self.open(run_id)
        tail = self._tails[run_id]
        if epoch > 1 and not tail.last:
            tail.go_on(await self._fetch(lambda: self._file.last_id(run_id)))
        writer.kept = tail.kept
        return writer

    def open(self, run_id: str) -> None:
        """Note a new run: its readers wait for events."""
        if run_id not in self._tails:
            self._tails[run_id] = Tail()
            self._put(run_id, "INSERT OR IGNORE INTO logs (run) VALUES (?)", (run_id,))

    def take_up(self, run_id: str) -> None:
        """The same for a run that a former process began. It is slow; called at the start only."""
        self.open(run_id)
        self._tails[run_id].go_on(self._file.last_id(run_id))

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
        waiting = self._next.events.get(run_id)
        if waiting is None:
            waiting = self._next.events[run_id] = Waiting()
        size = waiting.add(event)
        self._size += size
        self._waiting_bytes += size
        if self._waiting_bytes > _MOST_WAITING:
            self._room.clear()
        if kind == END:
            self._writers.leave(run_id)
        if durable or kind == END:
            self._unsaved.setdefault(run_id, deque()).append(event.id)
            self._hurry(run_id)
        else:
            if run_id not in self._unsaved:
                tail.show(event.id)
            if self._timer is None:
                self._schedule()
        return event

    def follow(self, run_id: str, after: int = 0) -> EventReader:
        return SqliteReader(
            after,
            tail=lambda: self._tails.get(run_id),
            page=lambda after: self._fetch(lambda: self._file.page(run_id, after)),
        )

    async def scan(self, run_id: str, upto: int, take: Scanner) -> None:
        def scan_disk(after: int) -> Awaitable[int]:
            return self._fetch(lambda: self._file.scan(run_id, after, upto, take))

        await scan(lambda: self._tails.get(run_id), scan_disk, upto, take)

    async def newest(self, run_id: str, kind: str) -> Event | None:
        tail = self._tails.get(run_id)
        found = tail.newest(kind) if tail is not None else None
        return found or await self._fetch(lambda: self._file.newest(run_id, kind))

    async def last_id(self, run_id: str) -> int:
        tail = self._tails.get(run_id)
        return 0 if tail is None else tail.shown

    @property
    def full(self) -> bool:
        return self._waiting_bytes > _MOST_WAITING

    async def ready(self) -> None:
        await self._room.wait()

    async def saved(self, run_id: str | None = None, *, patient: bool = True) -> None:
        if not patient and self._problem is not None:
            raise StoreError
        if run_id is None:
            self._urgent.update(self._next.events)
        batch, stated, savers = self._being_written
        if _is_in(run_id, self._next, self._waiting_ids):
            savers = self._savers
            self._hurry(run_id)
        elif self._writing is None or not _is_in(run_id, batch, stated):
            return
        waiting = self._loop.create_future()
        savers.append(waiting)
        if not patient:
            self._impatient.append(waiting)
        await waiting

    async def delete(self, run_id: str) -> None:
        await self.saved()  # all runs': then nothing is being written, and readers see the end
        tail = self._tails.pop(run_id, None)
        self._writers.leave(run_id)
        if tail is not None:
            tail.end()
        self._size -= self._file.forget(run_id)
        self._size -= await self._fetch(lambda: self._file.size(run_id))
        for table in ("blocks", "envelopes"):
            which = "(SELECT key FROM logs WHERE run = ?)"
            self._put(run_id, f"DELETE FROM {table} WHERE key = {which}", (run_id,))
        self._put(run_id, "DELETE FROM logs WHERE run = ?", (run_id,))
        await self.saved(run_id)

    def cut_off(self) -> None:
        for tail in self._tails.values():
            if not tail.ended:
                tail.suspend()

    @property
    def size(self) -> int:
        return self._size

    @property
    def problem(self) -> str | None:
        return self._files.problem() or self._problem

    def watch(self, path: Path) -> None:
        """Also report a problem if something happens to this open SQLite file."""
        self._files.add(path)

    async def tidy(self) -> None:
        await self._wal.tidy()

    async def close(self) -> None:
        self._closing = True
        while self._writing is not None or self._next:
            if self._writing is None:
                self._all_at = 0.0
                self._flush()
            assert self._writing is not None
            await asyncio.wait([self._writing])
            if self._problem is not None:
                _logger.error("events were lost: %s", self._problem)
                break
        if self._timer is not None:
            self._timer.cancel()
        for tail in self._tails.values():
            tail.suspend()
        await self._wal.close()
        file = self._file
        for threads, close in (
            (self._writer, file.close_writing),
            (self._reader, file.reading.close),
        ):
            await self._loop.run_in_executor(threads, close)
            threads.shutdown()

    # The journal

    def save(self, table: str, id: str, record: bytes) -> None:
        sql = (
            "INSERT INTO records (kind, id, data) VALUES (?, ?, ?) "
            "ON CONFLICT (kind, id) DO UPDATE SET data = excluded.data"
        )
        self._put(id, sql, (table, id, record))

    def remove(self, table: str, id: str) -> None:
        self._put(id, "DELETE FROM records WHERE kind = ? AND id = ?", (table, id))

    async def read(self, table: str, id: str) -> bytes | None:
        return await self._fetch(lambda: self._file.record(table, id))

    def load(self, table: str) -> Iterable[bytes]:
        return self._file.records(table)

    # Writing

    def _put(self, about: str, sql: str, values: tuple[Any, ...]) -> None:
        self._next.statements.append((sql, values))
        self._waiting_ids.add(about)
        if self._timer is None:
            self._schedule()

    def _hurry(self, run_id: str | None) -> None:
        """Write the events of a run at once, with all records."""
        if run_id is not None:
            self._urgent.add(run_id)
        if self._writing is not None or self._problem is not None:
            return
        if self._timer is not None:
            if self._soon:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(_SOON, self._flush)
        self._soon = True

    def _schedule(self) -> None:
        if self._writing is None:
            delay = max(0.0, self._all_at - self._loop.time())
            self._timer = self._loop.call_later(delay, self._flush)
            self._soon = False

    def _flush(self) -> None:
        self._timer = None
        if self._writing is not None:
            return
        waiting, now = self._next.events, self._loop.time()
        runs = dict.fromkeys(run for run in self._urgent if run in waiting)
        if now >= self._all_at:
            self._all_at = now + _PACE * min(1.0, _MOST_RUNS / max(1, len(waiting)))
            runs |= dict.fromkeys(islice(waiting, _MOST_RUNS))
        batch = Batch(self._next.statements, {run: waiting.pop(run) for run in runs})
        self._next.statements = []
        self._urgent.clear()
        savers, self._savers = self._savers, []
        self._being_written = batch, self._waiting_ids, savers
        self._waiting_ids = set()
        if not batch:
            _resolve(savers)
            return
        self._writing = self._loop.run_in_executor(self._writer, self._file.commit, batch)
        self._writing.add_done_callback(lambda done: self._written(done, batch, savers))

    def _written(
        self, done: asyncio.Future[None], batch: Batch, savers: list[asyncio.Future[None]]
    ) -> None:
        self._writing = None
        error = done.exception()
        if error is not None:
            if self._problem is None:
                _logger.error(
                    "%s cannot be written; runs wait, and it is tried again: %s", self._path, error
                )
            self._problem = str(error)
            for impatient in self._impatient:
                if not impatient.done():
                    impatient.set_exception(StoreError())
            self._impatient.clear()
            self._put_back(batch)
            self._savers[:0] = savers
            if not self._closing:
                self._timer = self._loop.call_later(_RETRY, self._flush)
                self._soon = False
            return
        self._problem = None
        self._impatient = [each for each in self._impatient if not each.done()]
        written = 0
        for run_id, waiting in batch.events.items():
            written += waiting.size
            self._saved(run_id, waiting.events[-1])
        self._waiting_bytes -= written
        # A row usually touches a page of its own.
        self._wal.wrote(1 + len(batch.statements) + len(batch.events) + written // _PAGE_SIZE)
        if self._waiting_bytes <= _MOST_WAITING:
            self._room.set()
        _resolve(savers)
        if self._urgent or self._savers:
            self._hurry(None)
        elif self._next:
            self._schedule()

    def _put_back(self, batch: Batch) -> None:
        """Put a batch that was not written before newer events."""
        self._all_at = 0.0
        self._waiting_ids |= self._being_written[1]
        self._next.statements[:0] = batch.statements
        since, self._next.events = self._next.events, batch.events
        for run_id, later in since.items():
            self._next.events.setdefault(run_id, Waiting()).extend(later)

    def _saved(self, run_id: str, last: Event) -> None:
        """Note that a run's events up to this one are on disk."""
        tail = self._tails.get(run_id)
        unsaved = self._unsaved.get(run_id)
        if unsaved is not None:
            while unsaved and unsaved[0] <= last.id:
                unsaved.popleft()
            if not unsaved:
                del self._unsaved[run_id]
        if tail is None:
            return
        tail.show(unsaved[0] - 1 if unsaved else tail.last)
        if last.kind == END:
            tail.end()
            del self._tails[run_id]
        else:
            tail.trim(last.id)

    async def _fetch(self, read: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._reader, read)


def _is_in(run_id: str | None, batch: Batch, stated: set[str]) -> bool:
    """Whether a batch has something of this run, or, without a run, anything at all."""
    return bool(batch) if run_id is None else run_id in batch.events or run_id in stated


def _resolve(savers: list[asyncio.Future[None]]) -> None:
    for saver in savers:
        if not saver.done():
            saver.set_result(None)
