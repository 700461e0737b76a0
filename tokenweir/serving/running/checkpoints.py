"""Checkpoints next to an event log: never ahead of it, copied with a thread, deleted with a run.

These are LangGraph's own savers, with the methods that its interface names but they lack. What a
checkpoint contains is up to LangGraph.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from copy import copy
from itertools import groupby
from typing import Any, Protocol, TypeAlias

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from tokenweir.serving.log.wal import WalKeeper
from tokenweir.serving.problems import StoreError
from tokenweir.serving.running import former_writes
from tokenweir.serving.running.saver_thread import SaverThread

__all__ = ["Checkpoints", "MemoryCheckpoints", "Said", "SqliteCheckpoints", "run_of"]

Said: TypeAlias = "Callable[[str, int], Awaitable[None]]"
"""``await said(run_id, epoch)`` waits until the events of a run so far are durable.

It raises if the run is no longer held under this epoch; then nothing may be saved.
"""

_BEGINS_AT_ONCE = sys.version_info >= (3, 12)
"""Whether LangGraph starts to save a node's writes before it streams what the node returned.

It streams that in the same iteration of the event loop, after the call.
"""

_TROUBLE = (sqlite3.DatabaseError, sqlite3.OperationalError, sqlite3.InternalError)
"""What SQLite raises when a file is locked, full, broken or unreadable. Subclasses are left out,
as those are about values."""

_logger = logging.getLogger("tokenweir.serving")

_PAGES = 3
"""Pages that a checkpoint or a node's writes touch: a row, and its entries in the index."""


class Checkpoints(Protocol):
    """What a home's saver does besides LangGraph's interface. It raises failures as StoreError.

    The metadata of a config names the run that writes, as ``run_id``, and the epoch under which
    it is held, as ``run_attempt``. If they are missing, the write is an update through the API.
    """

    def behind(self, said: Said) -> BaseCheckpointSaver[Any]:
        """A saver of the same checkpoints, for the graphs of one worker.

        It awaits ``said`` before it saves a checkpoint or writes of a run. If workers may be in
        other processes, it also checks the epoch in the transaction of each write.
        """
        ...

    async def akeep_writes(self, run_id: str, thread_id: str, *, everywhere: bool = False) -> None:
        """Keep the writes that a run may overwrite when it continues from a checkpoint.

        Those of the newest checkpoint of each namespace, or of all (``everywhere``). Does nothing
        if they were kept for this run before.
        """
        ...

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove a thread's checkpoints and writes."""
        ...

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove what these runs wrote and restore what they overwrote, all or nothing."""
        ...

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread's checkpoints and writes."""
        ...

    async def atry(self) -> None:
        """Check that checkpoints can be written; raise StoreError if not."""
        ...

    async def asize(self) -> int:
        """The size of all checkpoints in files, in bytes; 0 if there are no files."""
        ...

    async def atidy(self) -> None:
        """Return the space of deleted rows to the file system, if it is worth the work."""
        ...


class SqliteCheckpoints(AsyncSqliteSaver):
    """Checkpoints in a file.

    A run's events are saved before its checkpoints: a node with a checkpoint does not run again
    after a crash, so its events must not be lost.
    """

    def __init__(
        self,
        connection: aiosqlite.Connection,
        thread: SaverThread,
        wal: WalKeeper,
        *,
        serde: SerializerProtocol | None = None,
    ) -> None:
        """
        Args:
            connection: A connection to the file.
            thread: Runs the frequent operations.
            wal: Limits the size of the file's write-ahead log.
            serde: Converts values to bytes and back.
        """
        super().__init__(connection, serde=serde)
        self._said: Said | None = None
        self._thread = thread
        self._wal = wal

    def behind(self, said: Said) -> SqliteCheckpoints:
        """See ``Checkpoints``."""
        made = copy(self)
        made._said = said
        return made

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        async with self._store_errors():
            return await self._thread.run(lambda saver: saver.get_tuple(config))

    async def alist(
        self, config: RunnableConfig | None, **which: Any
    ) -> AsyncIterator[CheckpointTuple]:
        async with self._store_errors():
            async for found in super().alist(config, **which):
                yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        await self._wait(config)
        async with self._store_errors():
            put = await self._thread.run(
                lambda saver: saver.put(config, checkpoint, metadata, new_versions)
            )
        self._wal.wrote(_PAGES)
        return put

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        await self._wait(config)
        async with self._store_errors():
            await self._thread.run(
                lambda saver: saver.put_writes(config, writes, task_id, task_path)
            )
        self._wal.wrote(_PAGES)

    async def _wait(self, config: RunnableConfig) -> None:
        run_id, epoch = run_of(config)
        if run_id and self._said is not None:
            if _BEGINS_AT_ONCE:
                await asyncio.sleep(0)
            await self._said(run_id, epoch)

    @asynccontextmanager
    async def _store_errors(self) -> AsyncIterator[None]:
        """Raise failures of the file as StoreError."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if type(error) not in _TROUBLE:
                raise
            _logger.error("the checkpoints cannot be read or written: %s", error)
            raise StoreError from error

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[aiosqlite.Cursor]:
        """One transaction, committed or rolled back as a whole."""
        async with self._store_errors():
            await self.setup()
            async with self.lock, self.conn.cursor() as cursor:
                try:
                    yield cursor
                    await self.conn.commit()
                except BaseException:
                    with suppress(sqlite3.Error):
                        await self.conn.rollback()
                    raise

    async def setup(self) -> None:
        if not self.is_setup:
            await super().setup()
            await self.conn.executescript(former_writes.TABLE)

    async def atry(self) -> None:
        """See ``Checkpoints``."""
        async with self._writing() as cursor:
            await cursor.execute("INSERT INTO former_writes (run_id) VALUES ('')")
            await self.conn.commit()
            await cursor.execute("DELETE FROM former_writes WHERE run_id = ''")

    async def akeep_writes(self, run_id: str, thread_id: str, *, everywhere: bool = False) -> None:
        """Keep the writes that a run may overwrite when it continues from a checkpoint."""
        async with self._writing() as cursor:
            await former_writes.keep(cursor, run_id, thread_id, everywhere=everywhere)

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove a thread's checkpoints and writes."""

        def forget(saver: SqliteSaver) -> None:
            saver.delete_thread(thread_id)
            with saver.cursor() as cursor:
                cursor.execute(former_writes.FORGET, (thread_id,))

        async with self._store_errors():
            await self._thread.run(forget)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove what these runs wrote and restore what they overwrote, all or nothing."""
        made = (
            "SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints "
            "WHERE json_extract(CAST(metadata AS TEXT), '$.run_id') = ?"
        )
        which = f"(thread_id, checkpoint_ns, checkpoint_id) IN ({made})"
        ids = [(each,) for each in run_ids]
        async with self._writing() as cursor:
            for table in ("writes", "checkpoints"):
                await cursor.executemany(f"DELETE FROM {table} WHERE {which}", ids)
            for run_id in run_ids:
                await former_writes.put_back(cursor, run_id)

    async def asize(self) -> int:
        """The bytes of the file that are in use."""
        return await self._wal.used()

    async def atidy(self) -> None:
        """Return the space of deleted rows to the file system, if it is worth the work."""
        await self._wal.tidy()

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread's checkpoints and writes."""
        rest = {
            "checkpoints": "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, "
            "metadata",
            "writes": "checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value",
        }
        async with self._writing() as cursor:
            for table, columns in rest.items():
                await cursor.execute(
                    f"INSERT INTO {table} (thread_id, {columns}) "
                    f"SELECT ?, {columns} FROM {table} WHERE thread_id = ?",
                    (target_thread_id, source_thread_id),
                )


def run_of(config: RunnableConfig) -> tuple[str, int]:
    """The id of the run that writes, and its epoch; "" if no run does.

    The metadata of a first attempt have no ``run_attempt``, so its epoch is 1.
    """
    metadata = config.get("metadata") or {}
    return str(metadata.get("run_id") or ""), int(metadata.get("run_attempt") or 1)


class MemoryCheckpoints(InMemorySaver):
    """Checkpoints in memory; lost when the process ends."""

    def __init__(self) -> None:
        super().__init__()
        self._former: dict[str, tuple[str, dict[Any, Any]]] = {}
        """By thread: the run that its earlier writes were kept for, and these writes."""
        self._said: Said | None = None

    def behind(self, said: Said) -> MemoryCheckpoints:
        """See ``Checkpoints``."""
        made = copy(self)
        made._said = said
        return made

    async def aput(self, config: RunnableConfig, *rest: Any, **named: Any) -> RunnableConfig:
        await self._wait(config)
        return await super().aput(config, *rest, **named)

    async def aput_writes(self, config: RunnableConfig, *rest: Any, **named: Any) -> None:
        await self._wait(config)
        await super().aput_writes(config, *rest, **named)

    async def _wait(self, config: RunnableConfig) -> None:
        run_id, epoch = run_of(config)
        if run_id and self._said is not None:
            await self._said(run_id, epoch)

    async def atry(self) -> None:
        """See ``Checkpoints``."""

    async def asize(self) -> int:
        """Always 0, as there are no files."""
        return 0

    async def atidy(self) -> None:
        """Nothing to do."""

    async def akeep_writes(self, run_id: str, thread_id: str, *, everywhere: bool = False) -> None:
        """Keep the writes that a run may overwrite when it continues from a checkpoint."""
        if self._former.get(thread_id, ("",))[0] != run_id:
            found = {key: dict(each) for key, each in self.writes.items() if key[0] == thread_id}
            self._former[thread_id] = run_id, found

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove a thread's checkpoints and writes."""
        self._former.pop(thread_id, None)
        await super().adelete_thread(thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove what these runs wrote, and restore what they overwrote."""
        for thread_id in list(self.storage):
            config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
            found = list(self.list(config))
            kept = [each for each in found if each.metadata.get("run_id") not in run_ids]
            if len(kept) < len(found):
                self.delete_thread(thread_id)
                _put_all(self, thread_id, kept)
        for thread_id, (run_id, former) in list(self._former.items()):
            if run_id in run_ids:
                del self._former[thread_id]
                for key in [key for key in self.writes if key[0] == thread_id]:
                    del self.writes[key]
                self.writes.update(former)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread's checkpoints and writes."""
        found = list(self.list({"configurable": {"thread_id": source_thread_id}}))
        _put_all(self, target_thread_id, found)


def _put_all(saver: BaseCheckpointSaver[Any], thread_id: str, found: list[CheckpointTuple]) -> None:
    """Save checkpoints, given newest first, under a thread's id."""
    for each in reversed(found):
        parent = (each.parent_config or {}).get("configurable", {}).get("checkpoint_id")
        place = {
            "thread_id": thread_id,
            "checkpoint_ns": each.config["configurable"]["checkpoint_ns"],
            "checkpoint_id": parent,
        }
        versions = each.checkpoint["channel_versions"]
        saved = saver.put({"configurable": place}, each.checkpoint, each.metadata, versions)
        for task_id, writes in _by_task(each):
            saver.put_writes(saved, writes, task_id)


def _by_task(each: CheckpointTuple) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    for task_id, writes in groupby(each.pending_writes or (), key=lambda write: write[0]):
        yield task_id, [(channel, value) for _, channel, value in writes]
