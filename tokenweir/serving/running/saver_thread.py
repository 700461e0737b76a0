"""LangGraph's sync saver for SQLite, in a thread and with a connection of its own.

Its async saver takes a turn of a thread for each statement, commit and close of a cursor. A turn
costs more than a statement, as two threads are woken; here a whole operation takes one.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver

__all__ = ["SaverThread"]

T = TypeVar("T")


class SaverThread:
    """A thread that reads and writes the checkpoints of a file, whose tables are there.

    Args:
        path: The file, in WAL mode.
        timeout: Seconds to wait for whoever has locked the file.
        serde: What turns values into bytes and back.
    """

    def __init__(
        self, path: Path, *, timeout: float = 5.0, serde: SerializerProtocol | None = None
    ) -> None:
        self._thread = ThreadPoolExecutor(1, "tokenweir-checkpoints")
        connection = sqlite3.connect(path, timeout=timeout, check_same_thread=False)
        self._saver = _Saver(connection, serde=serde)

    async def run(self, work: Callable[[SqliteSaver], T]) -> T:
        """Call ``work`` in the thread, behind what came before, also if nobody waits for it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._saver)

    async def execute(self, statement: str) -> None:
        """Execute a statement that gives nothing, as to set up the connection."""
        await self.run(lambda saver: saver.conn.execute(statement).close())

    async def close(self) -> None:
        """Wait for what it is at, and close the connection."""
        await self.run(lambda saver: saver.conn.close())
        self._thread.shutdown()


class _Saver(SqliteSaver):
    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """A cursor of one transaction: all of it is written, or nothing."""
        cursor = self.conn.cursor()
        try:
            yield cursor
            if transaction:
                self.conn.commit()
        except BaseException:
            self.conn.rollback()
            raise
        finally:
            cursor.close()
