"""The event log on a disk: SQLite in WAL mode, written behind in batches by one thread.

A batch is written every ``_PACE`` seconds, and at once when an event has to be durable. A commit is
handed to the operating system, not waited for on the disk: it survives the process being killed; a
machine that loses its power may lose the last moments. The same writer keeps the records of runs,
so that what is written of a run is in the order in which it happened.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

from tokenweir.serving.events import END, Event, Tail

__all__ = ["SqliteLog"]

_PACE = 0.02
"""Seconds between batches."""

_MOST_WAITING = 16 << 20
"""Bytes that may wait for the disk before writers of many events are held back."""

_IN_MEMORY = 1024
"""Events of a run in progress that stay in memory; slower readers read from the disk."""

_PAGE = 512
"""Events that are read from the disk at once."""

_GAP = 1_000_000
"""Ids after a record was cut off go on at the next multiple: more than a batch can have lost."""

_RETRY = 0.5
"""Seconds until a batch that could not be written is tried again."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS logs (
    key INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, size INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS events (
    key INTEGER NOT NULL, id INTEGER NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (key, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    place INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL,
    UNIQUE (kind, id));
"""

_Row: TypeAlias = "tuple[str, tuple[Any, ...]]"
_logger = logging.getLogger("tokenweir.serving")


class SqliteLog:
    """An event log in a file, and a journal of records. For one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._writer = ThreadPoolExecutor(1, "tokenweir-log")
        self._reader = ThreadPoolExecutor(1, "tokenweir-log-reader")
        self._write = _connect(path)
        self._write.executescript(_SCHEMA)
        self._read = _connect(path)
        self._tails: dict[str, Tail] = {}
        self._unsaved: dict[str, deque[int]] = {}
        """By run: ids of durable events that are not on the disk yet."""
        self._rows: list[_Row] = []
        self._events: list[tuple[str, Event]] = []
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        self._savers: list[asyncio.Future[None]] = []
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._size: int = self._write.execute("SELECT coalesce(sum(size), 0) FROM logs").fetchone()[
            0
        ]
        self._problem: str | None = None

    # The event log

    def open(self, run_id: str) -> None:
        if run_id not in self._tails:
            self._tails[run_id] = Tail()
            self._put("INSERT OR IGNORE INTO logs (run) VALUES (?)", (run_id,))

    def append(self, run_id: str, kind: str, data: bytes, *, durable: bool = False) -> Event:
        tail = self._tails[run_id]
        event = tail.add(kind, data)
        self._events.append((run_id, event))
        self._waiting_bytes += len(data)
        self._size += len(data)
        unsaved = self._unsaved.get(run_id)
        if durable or kind == END:
            self._unsaved.setdefault(run_id, deque()).append(event.id)
            self._schedule(0.0)
        else:
            if not unsaved:
                tail.show(event.id)
            self._schedule(_PACE)
        if self._waiting_bytes > _MOST_WAITING:
            self._room.clear()
        return event

    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[list[Event]]:
        while True:
            tail = self._tails.get(run_id)
            if tail is not None and after >= tail.dropped:
                async for events in tail.follow(after):
                    after = events[-1].id
                    yield events
                if after >= tail.dropped:
                    return
                continue  # too slow: what comes next is on the disk only
            events = await self._page(run_id, after)
            if events:
                after = events[-1].id
                yield events
                if events[-1].kind == END:
                    return
            elif self._tails.get(run_id) is tail:
                return

    def last_id(self, run_id: str) -> int:
        tail = self._tails.get(run_id)
        return 0 if tail is None else tail.visible

    async def reopen(self, run_id: str) -> int:
        self.open(run_id)
        sql = "SELECT max(id) FROM events JOIN logs USING (key) WHERE run = ?"
        [(found,)] = await self._fetch(sql, (run_id,))
        kept: int = found or 0
        # Nothing of it is in memory; readers that are there already wait for what comes next.
        next_id = (kept // _GAP + 1) * _GAP
        self._tails[run_id] = Tail(last=next_id, dropped=kept)
        return kept

    async def ready(self) -> None:
        await self._room.wait()

    async def saved(self) -> None:
        if self._rows or self._events:
            self._schedule(0.0)
            waiting = self._loop.create_future()
            self._savers.append(waiting)
            await waiting
        elif self._writing is not None:
            await asyncio.wait([self._writing])

    async def delete(self, run_id: str) -> None:
        tail = self._tails.pop(run_id, None)
        if tail is not None:
            tail.end()
        await self.saved()
        rows = await self._fetch("SELECT size FROM logs WHERE run = ?", (run_id,))
        self._size -= sum(size for (size,) in rows)
        which = "(SELECT key FROM logs WHERE run = ?)"
        self._put(f"DELETE FROM events WHERE key = {which}", (run_id,))
        self._put("DELETE FROM logs WHERE run = ?", (run_id,))
        await self.saved()

    def suspend(self, run_id: str) -> None:
        if tail := self._tails.get(run_id):
            tail.end()

    @property
    def size(self) -> int:
        return self._size

    @property
    def problem(self) -> str | None:
        return self._problem

    async def close(self) -> None:
        self._closing = True
        while self._writing is not None or self._rows or self._events:
            if self._writing is None:
                self._flush()
            assert self._writing is not None
            await asyncio.wait([self._writing])
            if self._problem is not None:
                _logger.error("events were lost: %s", self._problem)
                break
        if self._timer is not None:
            self._timer.cancel()
        for tail in self._tails.values():
            tail.end()
        for threads, connection in ((self._writer, self._write), (self._reader, self._read)):
            await self._loop.run_in_executor(threads, connection.close)
            threads.shutdown()

    # The journal

    def save(self, table: str, id: str, record: bytes) -> None:
        sql = (
            "INSERT INTO records (kind, id, data) VALUES (?, ?, ?) "
            "ON CONFLICT (kind, id) DO UPDATE SET data = excluded.data"
        )
        self._put(sql, (table, id, record))

    def remove(self, table: str, id: str) -> None:
        self._put("DELETE FROM records WHERE kind = ? AND id = ?", (table, id))

    def load(self, table: str) -> Iterable[bytes]:
        sql = "SELECT data FROM records WHERE kind = ? ORDER BY place"
        return [data for (data,) in self._read.execute(sql, (table,))]

    # Writing

    def _put(self, sql: str, values: tuple[Any, ...]) -> None:
        self._insert_events()
        self._rows.append((sql, values))
        self._schedule(_PACE)

    def _insert_events(self) -> None:
        """Turn the events so far into rows, so that what follows comes after them."""
        for run_id, event in self._events:
            self._rows.append((_INSERT, (event.id, event.kind, event.data, run_id)))
        if self._events:
            self._events = []

    def _schedule(self, delay: float) -> None:
        if self._writing is not None:
            return  # what has come meanwhile is written next
        if self._timer is not None:
            if delay or self._timer.when() <= self._loop.time():
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._writing is not None:
            return
        self._insert_events()
        rows, self._rows = self._rows, []
        if not rows:
            return
        savers, self._savers = self._savers, []
        size, self._waiting_bytes = self._waiting_bytes, 0
        self._writing = self._loop.run_in_executor(self._writer, _commit, self._write, rows)
        self._writing.add_done_callback(lambda done: self._written(done, rows, size, savers))

    def _written(
        self,
        done: asyncio.Future[None],
        rows: list[_Row],
        size: int,
        savers: list[asyncio.Future[None]],
    ) -> None:
        self._writing = None
        error = done.exception()
        if error is not None:
            if self._problem is None:
                _logger.error("the event log cannot be written; trying again: %s", error)
            self._problem = str(error)
            self._rows[:0] = rows
            self._waiting_bytes += size
            self._savers[:0] = savers
            if not self._closing:
                self._timer = self._loop.call_later(_RETRY, self._flush)
            return
        self._problem = None
        for saver in savers:
            if not saver.done():
                saver.set_result(None)
        if self._waiting_bytes <= _MOST_WAITING:
            self._room.set()
        saved: dict[str, int] = {}
        ended: set[str] = set()
        for sql, values in rows:
            if sql is _INSERT:
                saved[values[3]] = values[0]
                if values[1] == END:
                    ended.add(values[3])
        for run_id, last in saved.items():
            self._saved(run_id, last, ended=run_id in ended)
        if self._rows or self._events:
            self._schedule(0.0 if self._unsaved or self._savers else _PACE)

    def _saved(self, run_id: str, id: int, *, ended: bool) -> None:
        """The events of a run up to an id are on the disk."""
        tail = self._tails.get(run_id)
        unsaved = self._unsaved.get(run_id)
        if unsaved is not None:
            while unsaved and unsaved[0] <= id:
                unsaved.popleft()
            if not unsaved:
                del self._unsaved[run_id]
        if tail is None:
            return
        tail.show(unsaved[0] - 1 if unsaved else tail.last)
        if ended:
            tail.end()
            del self._tails[run_id]
        elif tail.last - tail.dropped > 2 * _IN_MEMORY:
            tail.drop(max(_IN_MEMORY, tail.last - id))

    # Reading

    async def _page(self, run_id: str, after: int) -> list[Event]:
        sql = (
            "SELECT id, events.kind, data FROM events JOIN logs USING (key) "
            "WHERE run = ? AND id > ? ORDER BY id LIMIT ?"
        )
        rows = await self._fetch(sql, (run_id, after, _PAGE))
        return [Event(*row) for row in rows]

    async def _fetch(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        def fetch() -> list[Any]:
            return self._read.execute(sql, values).fetchall()

        return await self._loop.run_in_executor(self._reader, fetch)


_INSERT = "INSERT INTO events (key, id, kind, data) SELECT key, ?, ?, ? FROM logs WHERE run = ?"


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _commit(connection: sqlite3.Connection, rows: list[_Row]) -> None:
    """Write rows in order, all or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        sizes: dict[str, int] = {}
        start = 0
        while start < len(rows):
            sql = rows[start][0]
            end = start
            while end < len(rows) and rows[end][0] is sql:
                end += 1
            connection.executemany(sql, (values for _, values in rows[start:end]))
            if sql is _INSERT:
                for _, (_, _, data, run_id) in rows[start:end]:
                    sizes[run_id] = sizes.get(run_id, 0) + len(data)
            start = end
        connection.executemany(
            "UPDATE logs SET size = size + ? WHERE run = ?",
            [(size, run_id) for run_id, size in sizes.items()],
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
