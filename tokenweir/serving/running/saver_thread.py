"""LangGraph's sync saver for SQLite, in its own thread with its own connection.

The async saver switches threads for each statement, commit and close of a cursor. A switch costs
more than a statement, as it wakes two threads; here, a whole operation needs only one.
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
    """A thread that reads and writes the checkpoints in a file whose tables exist.

    Args:
        path: The file, in WAL mode.
        timeout: Seconds to wait for a lock of the file.
        serde: Converts values to bytes and back.
    """

    def __init__(
        self, path: Path, *, timeout: float = 5.0, serde: SerializerProtocol | None = None
    ) -> None:
        self._thread = ThreadPoolExecutor(1, "tokenweir-checkpoints")
        connection = sqlite3.connect(path, timeout=timeout, check_same_thread=False)
        self._saver = _Saver(connection, serde=serde)

    async def run(self, work: Callable[[SqliteSaver], T]) -> T:
        """Call ``work`` in the thread, after earlier calls, even if the caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._saver)

    async def execute(self, statement: str) -> None:
        """Execute a statement without a result, such as a pragma."""
        await self.run(lambda saver: saver.conn.execute(statement).close())

    async def close(self) -> None:
        """Wait for running calls, and close the connection."""
        await self.run(lambda saver: saver.conn.close())
        self._thread.shutdown()


class _Saver(SqliteSaver):
    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """A cursor in one transaction, committed or rolled back as a whole."""
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
