"""A folder that holds all data of one server: events, records, checkpoints, items."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.sqlite.aio import AsyncSqliteStore

from tokenweir.errors import TokenweirError
from tokenweir.serving.log.sqlite import SqliteLog
from tokenweir.serving.log.wal import MOST_PAGES, WalKeeper
from tokenweir.serving.problems import StoreError
from tokenweir.serving.running.checkpoints import SqliteCheckpoints
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.items import Items
from tokenweir.serving.running.local_store import LocalStore
from tokenweir.serving.running.saver_thread import SaverThread
from tokenweir.streaming._langgraph.state_types import state_types

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["FolderError", "data_folder", "locked"]


_logger = logging.getLogger("tokenweir.serving")

_LOCKED = 60.0
"""Seconds to wait while another process, such as a backup, locks the checkpoints."""


class FolderError(TokenweirError):
    """Raised when a folder cannot hold a server's data."""


def data_folder(
    path: Path, graphs: Mapping[str, Any]
) -> Callable[[], contextlib.AbstractAsyncContextManager[Home]]:
    """A home in a folder, for ``create_app``. A missing folder is created, private to this user.

    Reading a checkpoint creates only objects of types that occur in these graphs' states.

    Raises:
        FolderError: On opening, if another server uses the folder, it cannot be written, or one
            of its files cannot be read.
    """

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Home]:
        with locked(path, "events.sqlite", "checkpoints.sqlite", "items.sqlite"):
            with _readable(path / "events.sqlite") as events:
                log = SqliteLog(events)
            try:
                with _readable(events):
                    store = LocalStore(log)
                async with (
                    _checkpoints(path / "checkpoints.sqlite", log, graphs) as checkpoints,
                    _items(path / "items.sqlite") as items,
                ):
                    yield Home(store, log, checkpoints, items)
            finally:
                await log.close()

    return opened


@contextlib.asynccontextmanager
async def _checkpoints(
    path: Path, log: SqliteLog, graphs: Mapping[str, Any]
) -> AsyncIterator[SqliteCheckpoints]:
    serde = JsonPlusSerializer(allowed_msgpack_modules=state_types(graphs.values()))
    pragmas = ("synchronous = NORMAL", f"wal_autocheckpoint = {MOST_PAGES}")
    async with aiosqlite.connect(path, timeout=_LOCKED) as connection:
        wal = WalKeeper(path)
        thread = SaverThread(path, timeout=_LOCKED, serde=serde)
        try:
            checkpointer = SqliteCheckpoints(connection, thread, wal, serde=serde)
            with _readable(path):
                await connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                await checkpointer.setup()
                for pragma in pragmas:
                    await connection.execute(f"PRAGMA {pragma}")
                    await thread.execute(f"PRAGMA {pragma}")
            log.watch(path)
            yield checkpointer
        finally:
            await thread.close()
            await wal.close()


@contextlib.asynccontextmanager
async def _items(path: Path) -> AsyncIterator[Items]:
    async with aiosqlite.connect(path, timeout=_LOCKED, isolation_level=None) as connection:
        with _readable(path):
            await connection.execute("PRAGMA journal_mode = WAL")
            await connection.execute("PRAGMA synchronous = NORMAL")
            kept = AsyncSqliteStore(connection)
            await kept.setup()
        items = Items(kept, _store_errors)
        del kept
        try:
            yield items
        finally:
            await items.close()


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    """Raise failures of the items' file as StoreError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        _logger.error("the items cannot be read or written: %s", error)
        raise StoreError from error


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[Path]:
    """Name the file in the error if SQLite cannot read it or its records cannot be decoded."""
    try:
        yield path
    except (sqlite3.DatabaseError, msgspec.DecodeError) as error:
        raise FolderError(
            f"cannot read {path} ({error}). If another process holds it, stop that process; if it "
            "is damaged, restore a backup of the folder, or move the folder away to start afresh"
        ) from None


@contextlib.contextmanager
def locked(path: Path, *names: str) -> Any:
    """Lock a folder for this process; the lock is released when the process ends, however it ends.

    A missing folder is created, private to this user, with files of these names.

    Raises FolderError.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("lock", *names):
            (path / name).touch(mode=0o600)  # SQLite gives its other files the same
        file = (path / "lock").open("w")
    except (FileExistsError, NotADirectoryError):
        places = (each for each in (path, *path.parents) if each.exists() and not each.is_dir())
        other = next(places, path)
        raise FolderError(
            f"{other} is not a folder; give --data a folder, which is created if it is missing"
        ) from None
    except OSError as error:
        raise FolderError(f"cannot write into {path}: {error.strerror}") from None
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                reason = f"another server uses {path}; stop it, or give another --data folder"
                raise FolderError(reason) from None
        yield
