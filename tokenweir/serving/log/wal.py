"""Keeps a file of SQLite and its write-ahead log short, beside the writer.

It moves what the write-ahead log holds into the file, so that no commit has to.

SQLite has the commit that makes a log too long do it, with ``fsync`` and all: on a busy disk that
takes seconds, and whoever waits for that commit, or for the next one, waits as long. Here a
connection and a thread of their own do it beside the writer, which SQLite allows.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["MOST_PAGES", "WalKeeper"]

_PAGES = 1000
"""Pages after which a log is emptied, as SQLite has it by itself."""

MOST_PAGES = 32_000
"""Pages, some 130 MB, from which the writer has to do it, for its ``PRAGMA wal_autocheckpoint``: a
log that is always written begins anew only when somebody had a moment to empty all of it."""

_STEP = 256
"""Pages that are given back at once, while the writer waits."""

_PATIENCE = 0.2
"""Seconds for which it waits for the writer, or has the writer wait for readers."""

_logger = logging.getLogger("tokenweir.serving")


class WalKeeper:
    """Keeps the write-ahead log of one file short. For one event loop.

    Attributes:
        count: How many times it has emptied the log.
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
        """About so many pages were committed."""
        self._pages += pages
        if self._pages >= _PAGES and self._emptying is None:
            self._pages = 0
            self._emptying = self._loop.run_in_executor(self._thread, self._empty)
            self._emptying.add_done_callback(self._emptied)

    async def used(self) -> int:
        """Bytes of the file that hold something."""
        return await self._loop.run_in_executor(self._thread, self._used)

    async def tidy(self) -> None:
        """Give space that nothing uses any more back to the disk, if that is worth it."""
        try:
            await self._loop.run_in_executor(self._thread, self._tidy)
        except sqlite3.OperationalError as error:  # it is in use; the next time will do
            _logger.warning("%s could not be made shorter: %s", self._path, error)

    async def close(self) -> None:
        """Wait for what it is at, and close."""
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
                # As a script: it has a step for each page, of which ``execute`` takes the first.
                self._connection.executescript(f"PRAGMA incremental_vacuum({_STEP})")
        wal = Path(f"{self._path}-wal")
        if free >= _PAGES or wal.stat().st_size > _PAGES * self._pragma("page_size"):
            self._empty()  # the most of it without holding up the writer
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _pragma(self, name: str) -> int:
        value: int = self._connection.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    def _emptied(self, done: asyncio.Future[None]) -> None:
        self._emptying = None
        self.count += 1
        if (error := done.exception()) is not None:  # it stays in the log, and is as safe there
            _logger.warning("a write-ahead log could not be emptied: %s", error)
