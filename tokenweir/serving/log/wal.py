"""Keeps an SQLite file and its write-ahead log small, next to the writer.

By default, SQLite lets the commit that makes the log too long move it into the file, with
``fsync``. On a busy disk that takes seconds, and this commit and the next ones wait. Here, a
separate connection in its own thread does this in parallel with the writer, which SQLite allows.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["MOST_PAGES", "WalKeeper"]

_PAGES = 1000
"""Pages after which a log is emptied, the same number as SQLite's default."""

MOST_PAGES = 32_000
"""The limit at which the writer itself must empty the log (``PRAGMA wal_autocheckpoint``), in
pages, about 130 MB. SQLite starts a log over only after a moment in which all of it was emptied."""

_STEP = 256
"""Pages returned at a time, while the writer waits."""

_PATIENCE = 0.2
"""Seconds to wait for the writer, or to let the writer wait for readers."""

_logger = logging.getLogger("tokenweir.serving")


class WalKeeper:
    """Keeps the write-ahead log of one file short. For one event loop.

    Attributes:
        count: The number of times it has emptied the log.
    """

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "tokenweir-wal")
        self._path = path
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE
        )
        self._pages = 0
        self._emptying: asyncio.Future[None] | None = None

    def wrote(self, pages: int) -> None:
        """Note that about so many pages were committed."""
        self._pages += pages
        if self._pages >= _PAGES and self._emptying is None:
            self._pages = 0
            self._emptying = self._loop.run_in_executor(self._thread, self._empty)
            self._emptying.add_done_callback(self._emptied)

    async def used(self) -> int:
        """The bytes of the file that are in use."""
        return await self._loop.run_in_executor(self._thread, self._used)

    async def tidy(self) -> None:
        """Return unused space to the disk, if it is worth the work."""
        try:
            await self._loop.run_in_executor(self._thread, self._tidy)
        except sqlite3.OperationalError as error:  # the file is in use; try again next time
            _logger.warning("%s could not be shrunk: %s", self._path, error)

    async def close(self) -> None:
        """Wait for work in progress, and close."""
        if self._emptying is not None:
            await asyncio.wait([self._emptying])
        await self._loop.run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    def _empty(self) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _used(self) -> int:
        free, page_size = self._pragma("freelist_count"), self._pragma("page_size")
        return (self._pragma("page_count") - free) * page_size

    def _tidy(self) -> None:
        free = self._pragma("freelist_count")
        if free >= _PAGES:
            for _ in range(0, free, _STEP):
                # As a script: there is a step per page, and ``execute`` does only the first.
                self._connection.executescript(f"PRAGMA incremental_vacuum({_STEP})")
        wal = Path(f"{self._path}-wal")
        if free >= _PAGES or wal.stat().st_size > _PAGES * self._pragma("page_size"):
            self._empty()  # most of it, without blocking the writer
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _pragma(self, name: str) -> int:
        value: int = self._connection.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    def _emptied(self, done: asyncio.Future[None]) -> None:
        self._emptying = None
        self.count += 1
        if (error := done.exception()) is not None:  # the data stay in the log, which is as safe
            _logger.warning("a write-ahead log could not be emptied: %s", error)
