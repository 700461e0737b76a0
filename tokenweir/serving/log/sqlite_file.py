"""The event log's file: its tables, with events in blocks as in ``blocks.py``.

All methods block; ``sqlite.py`` calls them in threads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tokenweir.serving.log.blocks import Stored, pack, scan_blocks, unpack, weight
from tokenweir.serving.log.events import END, PAGE, Envelope, Event, Scanner
from tokenweir.serving.log.wal import MOST_PAGES

__all__ = ["Batch", "SqliteFile", "Waiting"]

_BLOCKS = 64
"""Blocks read at a time."""

_ROWS = 100
"""Rows per statement. Each statement releases the GIL and has to get it back, and a busy event loop
gives it up only every few milliseconds."""

_SIZES_AFTER = 32
"""Batches after which sizes of unfinished runs are written; those of ended runs are at once."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS logs (
    key INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, size INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS blocks (
    key INTEGER NOT NULL, last INTEGER NOT NULL, events BLOB NOT NULL,
    PRIMARY KEY (key, last)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS envelopes (
    key INTEGER NOT NULL, id INTEGER NOT NULL, head BLOB NOT NULL, tail BLOB NOT NULL,
    PRIMARY KEY (key, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    place INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL,
    UNIQUE (kind, id));
"""


class Waiting(msgspec.Struct, gc=False):
    """A run's events that wait to be written, the envelopes that begin with one, and all bytes."""

    events: list[Event] = []
    envelopes: tuple[Envelope, ...] = ()
    size: int = 0

    def add(self, event: Event) -> int:
        """Add an event, and return its bytes."""
        self.events.append(event)
        envelope = event.envelope
        if envelope is not None and envelope.id == event.id:
            self.envelopes += (envelope,)
        size = weight(event)
        self.size += size
        return size

    def extend(self, later: Waiting) -> None:
        """Add what came later."""
        self.events += later.events
        self.envelopes += later.envelopes
        self.size += later.size


@dataclass
class Batch:
    """A transaction: statements in their order, then events by run."""

    statements: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    events: dict[str, Waiting] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.statements or self.events)


class SqliteFile:
    """The file, with two connections: one thread writes, another reads."""

    def __init__(self, path: Path) -> None:
        self.writing = _connect(path)
        self.writing.executescript(_SCHEMA)
        self.reading = _connect(path)
        self._keys: dict[str, int] = {}
        self._sizes: dict[int, int] = {}
        """By key: bytes not yet added to the run's size in the file."""
        self._commits = 0

    # The thread that writes

    def commit(self, batch: Batch) -> None:
        """Write a batch, all or nothing."""
        execute = self.writing.execute
        self._commits += 1
        execute("BEGIN IMMEDIATE")
        try:
            for sql, values in batch.statements:
                execute(sql, values)
            blocks: list[Any] = []
            envelopes: list[Any] = []
            added: dict[int, int] = {}
            complete: list[int] = []
            for run_id, waiting in batch.events.items():
                key = self._key(run_id)
                if key is None:  # it was deleted in the meantime
                    continue
                events = waiting.events
                for start in range(0, len(events), PAGE):
                    some = events[start : start + PAGE]
                    blocks += (key, some[-1].id, pack(some))
                for envelope in waiting.envelopes:
                    envelopes += (key, envelope.id, envelope.head, envelope.tail)
                added[key] = waiting.size
                if events[-1].kind == END:
                    complete.append(key)
                    self._keys.pop(run_id, None)
            self._insert("INSERT INTO envelopes VALUES", 4, envelopes)
            self._insert("INSERT INTO blocks VALUES", 3, blocks)
            if self._commits % _SIZES_AFTER == 0:
                complete = [*{**self._sizes, **added}]
            sizes = {key: self._sizes.get(key, 0) + added.get(key, 0) for key in complete}
            self._write_sizes(sizes)
            execute("COMMIT")
        except BaseException:
            self._keys.clear()  # some may belong to rows that were rolled back
            if self.writing.in_transaction:
                execute("ROLLBACK")
            raise
        for key, size in added.items():
            self._sizes[key] = self._sizes.get(key, 0) + size
        for key in sizes:
            self._sizes.pop(key, None)

    def close_writing(self) -> None:
        """Write the remaining sizes, and close."""
        self._write_sizes(self._sizes)
        self.writing.close()

    def _write_sizes(self, sizes: dict[int, int]) -> None:
        self.writing.executemany(
            "UPDATE logs SET size = size + ? WHERE key = ?",
            [(size, key) for key, size in sizes.items()],
        )

    def _key(self, run_id: str) -> int | None:
        key = self._keys.get(run_id)
        if key is None:
            sql = "SELECT key FROM logs WHERE run = ?"
            found = self.writing.execute(sql, (run_id,)).fetchone()
            if found is None:
                return None
            key = self._keys[run_id] = found[0]
        return key

    def _insert(self, sql: str, columns: int, values: list[Any]) -> None:
        row = f"({', '.join('?' * columns)})"
        step = _ROWS * columns
        for start in range(0, len(values), step):
            some = values[start : start + step]
            rows = ", ".join([row] * (len(some) // columns))
            self.writing.execute(f"{sql} {rows}", some)

    # While nothing of the run is being written

    def forget(self, run_id: str) -> int:
        """Forget a run before its deletion; return the bytes not yet in its size in the file."""
        key = self._keys.pop(run_id, None)
        return 0 if key is None else self._sizes.pop(key, 0)

    # The thread that reads

    def page(self, run_id: str, after: int) -> list[Event]:
        """The next events of a run after an id; an empty list if there are no more."""
        sql = (
            "SELECT key, events FROM blocks JOIN logs USING (key) "
            "WHERE run = ? AND last > ? ORDER BY last LIMIT ?"
        )
        rows = self.reading.execute(sql, (run_id, after, _BLOCKS)).fetchall()
        stored = [each for _, block in rows for each in unpack(block) if each[0] > after]
        return self._events(rows[0][0], stored) if rows else []

    def scan(self, run_id: str, after: int, upto: int, take: Scanner) -> int:
        """Pass a run's events between two ids to ``take``; return the last id reached."""

        def envelope_of(name: int) -> Envelope:
            sql = "SELECT head, tail FROM envelopes JOIN logs USING (key) WHERE run = ? AND id = ?"
            head, tail = self.reading.execute(sql, (run_id, name)).fetchone()
            return Envelope(head, tail, name)

        sql = (
            "SELECT last, events FROM blocks JOIN logs USING (key) "
            "WHERE run = ? AND last > ? ORDER BY last"
        )
        rows = self.reading.execute(sql, (run_id, after))
        return scan_blocks(rows, after, upto, take, envelope_of)

    def newest(self, run_id: str, kind: str) -> Event | None:
        """The last event of this kind in a run; None if there is none."""
        sql = (
            "SELECT key, events FROM blocks JOIN logs USING (key) WHERE run = ? ORDER BY last DESC"
        )
        for key, block in self.reading.execute(sql, (run_id,)):
            for each in reversed(unpack(block)):
                if each[1] == kind:
                    return self._events(key, [each])[0]
        return None

    def last_id(self, run_id: str) -> int:
        """The greatest event id of a run; 0 if there is none."""
        sql = "SELECT max(last) FROM blocks JOIN logs USING (key) WHERE run = ?"
        return self.reading.execute(sql, (run_id,)).fetchone()[0] or 0

    def size(self, run_id: str | None = None) -> int:
        """The bytes of a run's events, or of all."""
        sql = "SELECT coalesce(sum(size), 0) FROM logs WHERE ? IS NULL OR run = ?"
        size: int = self.reading.execute(sql, (run_id, run_id)).fetchone()[0]
        return size

    def records(self, table: str) -> Iterable[bytes]:
        """All records of a table, oldest first."""
        sql = "SELECT data FROM records WHERE kind = ? ORDER BY place"
        return (data for (data,) in self.reading.execute(sql, (table,)))

    def record(self, table: str, id: str) -> bytes | None:
        """One record of a table; None if there is none."""
        sql = "SELECT data FROM records WHERE kind = ? AND id = ?"
        found = self.reading.execute(sql, (table, id)).fetchone()
        return None if found is None else found[0]

    def _events(self, key: int, stored: Sequence[Stored]) -> list[Event]:
        sql = "SELECT head, tail FROM envelopes WHERE key = ? AND id = ?"
        known: dict[int, Envelope | None] = {0: None}
        for *_, name in stored:
            if name not in known:
                head, tail = self.reading.execute(sql, (key, name)).fetchone()
                known[name] = Envelope(head, tail, name)
        return [Event(number, kind, body, known[name]) for number, kind, body, name in stored]


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # for WalKeeper.tidy; new files only
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {MOST_PAGES}")
    return connection
