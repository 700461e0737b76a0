"""LangGraph's sync saver for SQLite, in its own thread with its own connection.

The async saver switches threads for each statement, commit and close of a cursor. A switch costs
more than a statement, as it wakes two threads. Here, all calls made in one iteration of the event
loop, or while the thread is busy, share one switch and one transaction.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver

__all__ = ["SaverThread"]

T = TypeVar("T")

_Call: TypeAlias = "Callable[[SqliteSaver], Any]"
_Result: TypeAlias = "tuple[Any, Exception | None]"
"""What a call returned, or what it raised."""


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
        self._loop = asyncio.get_running_loop()
        self._next: list[tuple[_Call, asyncio.Future[Any]]] = []
        """The calls that the thread has not begun, each with what its caller awaits."""
        self._busy = False

    async def run(self, work: Callable[[SqliteSaver], T]) -> T:
        """Call ``work`` in the thread, after earlier calls, even if the caller is cancelled.

        If a call that shares its transaction fails, ``work`` is called again after the rollback.
        """
        result: asyncio.Future[T] = self._loop.create_future()
        self._next.append((work, result))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._begin)
        return await result

    async def execute(self, statement: str) -> None:
        """Execute a statement without a result, such as a pragma."""
        await self.run(lambda saver: saver.conn.execute(statement).close())

    async def close(self) -> None:
        """Wait for running calls, and close the connection."""
        await self.run(lambda saver: saver.conn.commit())
        await self._loop.run_in_executor(self._thread, self._saver.conn.close)
        self._thread.shutdown()

    def _begin(self) -> None:
        begun, self._next = self._next, []
        calls = [call for call, _ in begun]
        job = self._loop.run_in_executor(self._thread, self._saver.call_all, calls)
        job.add_done_callback(lambda job: self._done(begun, job.result()))

    def _done(self, begun: list[tuple[_Call, asyncio.Future[Any]]], results: list[_Result]) -> None:
        for (_, waiting), (result, error) in zip(begun, results, strict=True):
            if waiting.done():  # the caller was cancelled
                continue
            if error is None:
                waiting.set_result(result)
            else:
                waiting.set_exception(error)
        self._busy = bool(self._next)
        if self._busy:
            self._begin()


class _Saver(SqliteSaver):
    _together = False
    """Whether the statements belong to a larger transaction."""

    def call_all(self, calls: Sequence[_Call]) -> list[_Result]:
        """Make all calls in one transaction; if one fails, each in a transaction of its own."""
        if len(calls) > 1:
            try:
                with self.cursor():
                    self._together = True
                    return [(call(self), None) for call in calls]
            except Exception:  # noqa: BLE001 - the call that failed fails again below
                pass
            finally:
                self._together = False
        return [self._call(call) for call in calls]

    def _call(self, call: _Call) -> _Result:
        try:
            return call(self), None
        except Exception as error:  # noqa: BLE001 - it is raised at the caller
            return None, error

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """A cursor in one transaction, committed or rolled back as a whole."""
        transaction = transaction and not self._together
        cursor = self.conn.cursor()
        try:
            yield cursor
            if transaction:
                self.conn.commit()
        except BaseException:
            if transaction:
                self.conn.rollback()
            raise
        finally:
            cursor.close()
