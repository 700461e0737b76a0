"""Calls that share a transaction in the thread of the checkpoints do not depend on each other."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from tokenweir.serving.running.saver_thread import SaverThread


@pytest.fixture
async def thread(tmp_path: Path) -> AsyncIterator[SaverThread]:
    """A thread whose file has a table of numbers."""
    with sqlite3.connect(tmp_path / "checkpoints.sqlite") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
    connection.close()
    thread = SaverThread(tmp_path / "checkpoints.sqlite")
    yield thread
    await thread.close()


def write(number: int) -> Callable[[SqliteSaver], None]:
    """A call that writes a number; a number that is there is an error."""

    def call(saver: SqliteSaver) -> None:
        with saver.cursor() as cursor:
            cursor.execute("INSERT INTO numbers VALUES (?)", (number,))

    return call


def read(saver: SqliteSaver) -> list[int]:
    """A call that reads all numbers."""
    with saver.cursor(transaction=False) as cursor:
        return [number for (number,) in cursor.execute("SELECT number FROM numbers ORDER BY 1")]


def commits(path: Path) -> int:
    """The commits in a write-ahead log: its frames that end a transaction."""
    log = Path(f"{path}-wal").read_bytes()
    size = int.from_bytes(log[8:12], "big")
    frames = range(32, len(log), 24 + size)
    return sum(log[start + 4 : start + 8] != bytes(4) for start in frames)


async def test_calls_of_one_iteration_share_a_transaction(
    thread: SaverThread, tmp_path: Path
) -> None:
    """Two writes are one commit, and a call behind them reads both."""
    await thread.run(write(0))
    before = commits(tmp_path / "checkpoints.sqlite")
    *_, numbers = await asyncio.gather(*map(thread.run, (write(1), write(2), read)))
    assert numbers == [0, 1, 2]
    assert commits(tmp_path / "checkpoints.sqlite") == before + 1


async def test_a_call_that_fails_fails_alone(thread: SaverThread) -> None:
    """What was asked for with it is written, and nothing of the failed call is."""

    def half(saver: SqliteSaver) -> None:
        with saver.cursor() as cursor:
            cursor.execute("INSERT INTO numbers VALUES (3)")
            raise ValueError("half a call")

    calls = (write(1), half, write(1), write(2))
    results = await asyncio.gather(*map(thread.run, calls), return_exceptions=True)
    assert [type(result) for result in results] == [
        type(None),
        ValueError,
        sqlite3.IntegrityError,
        type(None),
    ]
    assert await thread.run(read) == [1, 2]


async def test_a_call_is_made_though_its_caller_is_cancelled(thread: SaverThread) -> None:
    """A cancelled caller neither takes its call back nor disturbs the others."""
    left = asyncio.ensure_future(thread.run(write(1)))
    stays = asyncio.ensure_future(thread.run(write(2)))
    await asyncio.sleep(0)
    left.cancel()
    with suppress(asyncio.CancelledError):
        await left
    await stays
    assert await thread.run(read) == [1, 2]


async def test_closing_waits_for_the_calls_before(tmp_path: Path, thread: SaverThread) -> None:
    """A call that nobody waited for is on disk when the thread is closed."""
    other = SaverThread(tmp_path / "checkpoints.sqlite")
    writing = asyncio.ensure_future(other.run(write(1)))
    await asyncio.sleep(0)
    await other.close()
    await writing
    assert await thread.run(read) == [1]
