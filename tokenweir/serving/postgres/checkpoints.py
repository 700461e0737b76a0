"""LangGraph's checkpoints in Postgres; only the worker that holds a run writes them.

LangGraph's own saver does the work: a new one per call, on a connection of the pool, as one saver
for all would serialize the calls. A write is one transaction. It first checks who holds the run:
``tokenweir_hold`` raises if another worker does, and makes other workers' claims wait until the
write is done.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from tokenweir.serving.postgres.database import Connection, Database
from tokenweir.serving.running.checkpoints import Said, run_of

__all__ = ["PostgresCheckpoints"]

_BEGINS_AT_ONCE = sys.version_info >= (3, 12)
"""See ``running/checkpoints.py``."""

_PLACE = "thread_id, checkpoint_ns, checkpoint_id"
_WRITE = f"{_PLACE}, task_id, task_path, idx, channel, type, blob"

_TABLES = {
    "checkpoints": "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata",
    "checkpoint_blobs": "checkpoint_ns, channel, version, type, blob",
    "checkpoint_writes": (
        "checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob"
    ),
}


class PostgresCheckpoints(BaseCheckpointSaver[str]):
    """Checkpoints that the servers of one database share."""

    def __init__(self, database: Database, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde)
        self._database = database
        self._said: Said | None = None

    def behind(self, said: Said) -> PostgresCheckpoints:
        """See ``Checkpoints``."""
        made = copy(self)
        made._said = said
        return made

    # LangGraph's interface

    def get_next_version(self, current: str | None, channel: None) -> str:
        return AsyncPostgresSaver.get_next_version(self, current, channel)  # type: ignore[arg-type]

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        async with self._reading() as saver:
            return await saver.aget_tuple(config)

    async def alist(
        self, config: RunnableConfig | None, **which: Any
    ) -> AsyncIterator[CheckpointTuple]:
        async with self._reading() as saver:
            found = [each async for each in saver.alist(config, **which)]
        for each in found:  # the consumer may be slow, or make further calls
            yield each

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        async with self._reading() as saver:
            return await saver.aget_delta_channel_history(config=config, channels=channels)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        async with self._held(config) as saver:
            return await saver.aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        async with self._held(config) as saver:
            await saver.aput_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove a thread's checkpoints and writes."""
        async with self._database.transaction() as connection:
            await self._on(connection).adelete_thread(thread_id)
            await connection.execute(
                "delete from tokenweir_former_writes where thread_id = %s", (thread_id,)
            )

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove what these runs wrote and restore what they overwrote, all or nothing."""
        of_runs = {"runs": list(run_ids)}
        async with self._database.transaction() as connection:
            for sql in (
                "with made as (delete from checkpoints where metadata ->> 'run_id' = any(%(runs)s)"
                f" returning {_PLACE}) delete from checkpoint_writes where ({_PLACE}) in "
                "(select * from made)",
                f"delete from checkpoint_writes where ({_PLACE}) in "
                f"(select {_PLACE} from tokenweir_former_writes where run = any(%(runs)s))",
                f"insert into checkpoint_writes ({_WRITE}) select {_WRITE} from "
                "tokenweir_former_writes where run = any(%(runs)s) and task_id is not null",
                "delete from tokenweir_former_writes where run = any(%(runs)s)",
            ):
                await connection.execute(sql, of_runs)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread's checkpoints and writes."""
        async with self._database.transaction() as connection:
            for table, columns in _TABLES.items():
                await connection.execute(
                    f"insert into {table} (thread_id, {columns}) "
                    f"select %s, {columns} from {table} where thread_id = %s",
                    (target_thread_id, source_thread_id),
                )

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        async with self._reading() as saver:
            await saver.aprune(thread_ids, strategy=strategy)

    # A home's additions

    async def akeep_writes(self, run_id: str, thread_id: str, *, everywhere: bool = False) -> None:
        """See ``Checkpoints``."""
        values = {"run": run_id, "thread": thread_id}
        newest = "checkpoint_id" if everywhere else "max(checkpoint_id)"
        grouped = "" if everywhere else "group by thread_id, checkpoint_ns"
        async with self._database.transaction() as connection:
            found = await connection.execute(
                "select 1 from tokenweir_former_writes where thread_id = %(thread)s "
                "and run = %(run)s limit 1",
                values,
            )
            if await found.fetchone() is not None:
                return
            for sql in (
                "delete from tokenweir_former_writes where thread_id = %(thread)s",
                f"insert into tokenweir_former_writes ({_PLACE}, run) "
                f"select thread_id, checkpoint_ns, {newest}, %(run)s from checkpoints "
                f"where thread_id = %(thread)s {grouped}",
                f"insert into tokenweir_former_writes ({_WRITE}, run) select {_WRITE}, %(run)s "
                f"from checkpoint_writes where ({_PLACE}) in "
                f"(select {_PLACE} from tokenweir_former_writes where thread_id = %(thread)s)",
            ):
                await connection.execute(sql, values)

    async def atry(self) -> None:
        """See ``Checkpoints``."""
        async with self._database.transaction() as connection:
            await connection.execute(
                f"insert into tokenweir_former_writes ({_PLACE}, run) values ('', '', '', '')"
            )
            await connection.execute("delete from tokenweir_former_writes where run = ''")

    async def asize(self) -> int:
        """Always 0: Postgres has no files of ours."""
        return 0

    async def atidy(self) -> None:
        """Nothing to do: Postgres does this itself."""

    # Inside

    def _on(self, connection: Connection) -> AsyncPostgresSaver:
        return AsyncPostgresSaver(connection, serde=self.serde)  # type: ignore[arg-type]

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncPostgresSaver]:
        async with self._database.connection() as connection:
            yield self._on(connection)

    @asynccontextmanager
    async def _held(self, config: RunnableConfig) -> AsyncIterator[AsyncPostgresSaver]:
        """A saver in one transaction; if a run writes, it must be held under its epoch."""
        run, epoch = run_of(config)
        if run and self._said is not None:
            if _BEGINS_AT_ONCE:
                await asyncio.sleep(0)
            await self._said(run, epoch)
        async with (
            self._database.connection() as connection,
            connection.pipeline(),  # so that only the end waits for an answer
            connection.transaction(),
        ):
            if run and self._said is not None:
                await connection.execute("select tokenweir_hold(%s, %s)", (run, epoch))
            yield self._on(connection)
