"""Checkpoints beside an event log: never ahead of it, copied with a thread, gone with a run.

LangGraph's own savers, with what their interface names and they leave out. What a checkpoint holds
is LangGraph's matter.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

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
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from tokenweir.serving.log.wal import WalKeeper
from tokenweir.serving.running import former_writes

__all__ = ["MemoryCheckpoints", "SqliteCheckpoints"]

_BEGINS_AT_ONCE = sys.version_info >= (3, 12)
"""Whether LangGraph has a save begin before it says what the node gave whose writes are saved.

It says so in the same turn of the event loop, behind the call.
"""

_PAGES = 3
"""Of the file, that a checkpoint or a node's writes touch: a row and its place in the index."""


class SqliteCheckpoints(AsyncSqliteSaver):
    """Checkpoints in a file.

    What a run has said is saved before what it has done: a node that is done does not run again
    after a kill, so its events must not be lost.
    """

    def __init__(
        self,
        connection: aiosqlite.Connection,
        saved: Callable[[str], Awaitable[None]],
        wal: WalKeeper,
        *,
        serde: SerializerProtocol | None = None,
    ) -> None:
        """
        Args:
            connection: To the file.
            saved: Waits until the events of a run, given by its id, would survive.
            wal: Keeps the file short.
            serde: What turns values into bytes and back.
        """
        super().__init__(connection, serde=serde)
        self._recorded: Callable[[str], Awaitable[None]] = _at_once
        self._saved = saved
        self._wal = wal

    def stay_behind(self, recorded: Callable[[str], Awaitable[None]]) -> None:
        """Save nothing of a run before ``recorded(run_id)`` has returned.

        Args:
            recorded: Waits until the event log has what a run has said so far; raises if the run
                is over.
        """
        self._recorded = recorded

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        await self._said(config)
        put = await super().aput(config, checkpoint, metadata, new_versions)
        self._wal.wrote(_PAGES)
        return put

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        await self._said(config)
        await super().aput_writes(config, writes, task_id, task_path)
        self._wal.wrote(_PAGES)

    async def _said(self, config: RunnableConfig) -> None:
        if run_id := _run_of(config):
            if _BEGINS_AT_ONCE:
                await asyncio.sleep(0)
            await self._recorded(run_id)
            await self._saved(run_id)

    async def setup(self) -> None:
        if not self.is_setup:
            await super().setup()
            await self.conn.executescript(former_writes.TABLE)

    async def akeep_writes(self, run_id: str, thread_id: str, *, everywhere: bool = False) -> None:
        """Keep what a run that goes on from another's checkpoint may write over."""
        await self.setup()
        async with self.lock, self.conn.cursor() as cursor:
            await former_writes.keep(cursor, run_id, thread_id, everywhere=everywhere)
            await self.conn.commit()

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove a thread's checkpoints and writes."""
        await super().adelete_thread(thread_id)
        async with self.lock, self.conn.cursor() as cursor:
            await cursor.execute(former_writes.FORGET, (thread_id,))
            await self.conn.commit()

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove what runs wrote, all or nothing, as if they had never been."""
        made = (
            "SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints "
            "WHERE json_extract(CAST(metadata AS TEXT), '$.run_id') = ?"
        )
        which = f"(thread_id, checkpoint_ns, checkpoint_id) IN ({made})"
        ids = [(each,) for each in run_ids]
        await self.setup()
        async with self.lock, self.conn.cursor() as cursor:
            for table in ("writes", "checkpoints"):
                await cursor.executemany(f"DELETE FROM {table} WHERE {which}", ids)
            for run_id in run_ids:
                await former_writes.put_back(cursor, run_id)
            await self.conn.commit()

    async def asize(self) -> int:
        """Bytes of all checkpoints, as they lie in the file."""
        return await self._wal.used()

    async def atidy(self) -> None:
        """Give the space of what was deleted back, if that is worth it."""
        await self._wal.tidy()

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread's checkpoints and writes."""
        await self.setup()
        rest = {
            "checkpoints": "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, "
            "metadata",
            "writes": "checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value",
        }
        async with self.lock, self.conn.cursor() as cursor:
            for table, columns in rest.items():
                await cursor.execute(
                    f"INSERT INTO {table} (thread_id, {columns}) "
                    f"SELECT ?, {columns} FROM {table} WHERE thread_id = ?",
                    (target_thread_id, source_thread_id),
                )
            await self.conn.commit()


def _run_of(config: RunnableConfig) -> str:
    """The id of the run that writes; empty if none does."""
    return str((config.get("metadata") or {}).get("run_id") or "")


async def _at_once(run_id: str) -> None:
    """Nobody runs graphs here, as in a tool that looks into a folder."""


class MemoryCheckpoints(InMemorySaver):
    """Checkpoints in memory: gone with the process."""

    def __init__(self) -> None:
        super().__init__()
        self._former: dict[str, tuple[str, dict[Any, Any]]] = {}
        """By thread: the run for which its writes were kept, and those."""
        self._recorded: Callable[[str], Awaitable[None]] = _at_once

    def stay_behind(self, recorded: Callable[[str], Awaitable[None]]) -> None:
        """As ``SqliteCheckpoints`` does."""
        self._recorded = recorded

    async def aput(self, config: RunnableConfig, *rest: Any) -> RunnableConfig:
        await self._recorded(_run_of(config))
        return await super().aput(config, *rest)

    async def aput_writes(self, config: RunnableConfig, *rest: Any) -> None:
        await self._recorded(_run_of(config))
        await super().aput_writes(config, *rest)

    async def akeep_writes(self, run_id: str, thread_id: str, *, everywhere: bool = False) -> None:
        """Keep what a run that goes on from another's checkpoint may write over."""
        if self._former.get(thread_id, ("",))[0] != run_id:
            found = {key: dict(each) for key, each in self.writes.items() if key[0] == thread_id}
            self._former[thread_id] = run_id, found

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove a thread's checkpoints and writes."""
        self._former.pop(thread_id, None)
        await super().adelete_thread(thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove what runs wrote, as if they had never been."""
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
    """Write checkpoints, given newest first, under a thread's id."""
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
