"""A folder in which a server keeps everything: events, records, checkpoints. One server each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from tokenweir.serving._internals import state_types
from tokenweir.serving.app import Home
from tokenweir.serving.records import Records
from tokenweir.serving.sqlite_log import SqliteLog
from tokenweir.streaming.errors import TokenweirError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["FolderError", "data_folder"]


class FolderError(TokenweirError):
    """Raised when a folder cannot hold a server's data."""


def data_folder(
    path: Path, graphs: Mapping[str, Any]
) -> Callable[[], contextlib.AbstractAsyncContextManager[Home]]:
    """A home in a folder, for ``create_app``; made if it is not there.

    Checkpoints are read without reviving any object that is not part of these graphs' states.

    Raises:
        FolderError: On opening, when another server uses the folder, or it cannot be written.
    """

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Home]:
        with _locked(path):
            log = SqliteLog(path / "events.sqlite")
            try:
                async with aiosqlite.connect(path / "checkpoints.sqlite") as connection:
                    serde = JsonPlusSerializer(allowed_msgpack_modules=state_types(graphs.values()))
                    checkpointer = _Saver(connection, log, serde=serde)
                    await checkpointer.setup()
                    await connection.execute("PRAGMA synchronous = NORMAL")
                    yield Home(log, checkpointer, Records(log))
            finally:
                await log.close()

    return opened


class _Saver(AsyncSqliteSaver):
    """Saves what a run has said before it saves what the run has done.

    A node that is done does not run again after a kill, so its events must not be lost.
    """

    def __init__(self, connection: aiosqlite.Connection, log: SqliteLog, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._log = log

    async def aput(self, config: RunnableConfig, *args: Any, **kwargs: Any) -> RunnableConfig:
        await self._said(config)
        return await super().aput(config, *args, **kwargs)

    async def aput_writes(self, config: RunnableConfig, *args: Any, **kwargs: Any) -> None:
        await self._said(config)
        await super().aput_writes(config, *args, **kwargs)

    async def _said(self, config: RunnableConfig) -> None:
        run_id = (config.get("metadata") or {}).get("run_id")
        if isinstance(run_id, str):
            await self._log.saved(run_id)


@contextlib.contextmanager
def _locked(path: Path) -> Any:
    """Hold the folder for this process; the lock goes with the process, however it ends."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / "lock").open("w")
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
