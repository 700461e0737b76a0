"""Threads and assistants in Postgres."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tokenweir.serving.postgres.database import Connection, Database
from tokenweir.serving.postgres.notifications import Notifications
from tokenweir.serving.postgres.rows import (
    assistant_of,
    encode,
    searchable,
    thread_of,
)
from tokenweir.serving.postgres.session import Session
from tokenweir.serving.problems import ConflictError, Limits, NotFoundError
from tokenweir.serving.running.records import Assistant, Thread, now
from tokenweir.serving.running.searches import (
    AssistantSearch,
    ThreadSearch,
    find_assistants,
    find_threads,
)
from tokenweir.serving.running.store_rules import check_assistants, check_threads

__all__ = ["PostgresRecords", "put_thread"]

_THREAD = "record, status, updated_at"

_LOCKED = 6
"""Threads that the API changes at a time: each holds a connection, and needs a second one."""


async def put_thread(connection: Connection, thread: Thread, *, new: bool) -> bool:
    """Write a thread in a transaction, which has locked it unless ``new``; return if it worked."""
    thread.updated_at = now()
    values = {
        "id": thread.id,
        "owner": thread.owner,
        "status": thread.status,
        "created_at": thread.created_at,
        "updated_at": thread.updated_at,
        "state_updated_at": thread.state_updated_at,
        "metadata": searchable(thread.metadata),
        "record": encode(thread),
    }
    if new:
        sql = (
            "insert into tokenweir_threads (id, owner, status, created_at, updated_at, "
            "state_updated_at, metadata, record) values (%(id)s, %(owner)s, %(status)s, "
            "%(created_at)s, %(updated_at)s, %(state_updated_at)s, %(metadata)s, %(record)s) "
            "on conflict (id) do nothing"
        )
    else:
        sql = (
            "update tokenweir_threads set status = %(status)s, updated_at = %(updated_at)s, "
            "state_updated_at = %(state_updated_at)s, metadata = %(metadata)s, "
            "record = %(record)s where id = %(id)s"
        )
    return (await connection.execute(sql, values)).rowcount > 0


class PostgresRecords:
    """The part of the store for threads and assistants."""

    def __init__(self, database: Database, session: Session, notifications: Notifications) -> None:
        self._database = database
        self._session = session
        self._notifications = notifications
        self._changing = asyncio.Semaphore(_LOCKED)

    # Threads

    async def thread(self, thread_id: str, owner: str) -> Thread:
        sql = f"select {_THREAD} from tokenweir_threads where id = %s and owner = %s"
        rows = await self._database.rows(sql, (thread_id, owner))
        if not rows:
            raise NotFoundError(f"there is no thread {thread_id}")
        return thread_of(rows[0])

    async def create_thread(self, thread: Thread, limits: Limits) -> None:
        async with self._database.transaction() as connection:
            await self._check_threads(connection, thread.owner, limits)
            made = await put_thread(connection, thread, new=True)
            if not made or await _run_owner(connection, thread.id) not in (None, thread.owner):
                raise ConflictError(f"there is already a thread {thread.id}")

    @contextlib.asynccontextmanager
    async def locked(self, thread_id: str, owner: str) -> AsyncIterator[Thread]:
        async with self._changing, self._database.transaction() as connection:
            thread = await self._lock(connection, thread_id, owner)
            yield thread
            await put_thread(connection, thread, new=False)
        self._notifications.wake_workers()

    async def delete_thread(self, thread_id: str, owner: str) -> None:
        async with self._database.transaction() as connection:
            await self._lock(connection, thread_id, owner)
            if await _run_owner(connection, thread_id) is not None:
                raise ConflictError("a run was started on this thread in the meantime; try again")
            await connection.execute("delete from tokenweir_threads where id = %s", (thread_id,))

    async def search_threads(self, owner: str, search: ThreadSearch) -> tuple[list[Thread], int]:
        where, given = ["owner = %(owner)s"], {"owner": owner, "limit": search.limit}
        more: dict[str, Any] = {"offset": search.offset}
        if search.ids is not None:
            where.append("id = any(%(ids)s)")
            more["ids"] = list(search.ids)
        if search.status is not None:
            where.append("status = %(status)s")
            more["status"] = search.status
        if search.metadata:
            where.append("metadata @> %(metadata)s")
            more["metadata"] = searchable(search.metadata)
            for number, (key, value) in enumerate(
                search.metadata.items()
            ):  # @> also matches values that contain this one
                where.append(f"metadata -> %(key{number})s::text = %(value{number})s")
                more[f"key{number}"] = key
                more[f"value{number}"] = searchable(value)
        found = f"from tokenweir_threads where {' and '.join(where)}"
        if search.values:  # states have no index: look at each thread
            rows = await self._database.rows(f"select {_THREAD} {found} order by seq", given | more)
            return find_threads(map(thread_of, rows), search)
        direction = "desc" if search.descending else "asc"
        order = f'{search.sort_by} collate "C" {direction}, seq {direction}'
        async with self._database.connection() as connection:
            counted = await connection.execute(f"select count(*) {found}", given | more)
            ((count,),) = await counted.fetchall()
            page = await connection.execute(
                f"select {_THREAD} {found} order by {order} limit %(limit)s offset %(offset)s",
                given | more,
            )
            return [thread_of(row) for row in await page.fetchall()], count

    # Assistants

    async def assistant(self, assistant_id: str) -> Assistant | None:
        sql = "select record from tokenweir_assistants where id = %s"
        rows = await self._database.rows(sql, (assistant_id,))
        return assistant_of(rows[0][0]) if rows else None

    async def create_assistant(self, assistant: Assistant, most: int | None = None) -> None:
        owner = assistant.owner
        async with self._database.transaction() as connection:
            if most is not None:
                sql = "select count(*) from tokenweir_assistants where owner = %s and not own"
                ((count,),) = await (await connection.execute(sql, (owner,))).fetchall()
                check_assistants(count, most)
            assistant.updated_at = now()
            sql = (
                "insert into tokenweir_assistants (id, owner, graph, own, record) "
                "values (%s, %s, %s, %s, %s) on conflict (id) do nothing"
            )
            values = (assistant.id, owner, assistant.graph, assistant.own, encode(assistant))
            if not (await connection.execute(sql, values)).rowcount:
                raise ConflictError(f"there is already an assistant {assistant.id}")

    async def save_assistant(self, assistant: Assistant) -> None:
        assistant.updated_at = now()
        sql = "update tokenweir_assistants set graph = %s, record = %s where id = %s returning 1"
        values = (assistant.graph, encode(assistant), assistant.id)
        if not await self._database.rows(sql, values):
            raise NotFoundError(f"there is no assistant {assistant.id}")

    async def delete_assistant(self, assistant_id: str) -> None:
        sql = "delete from tokenweir_assistants where id = %s returning 1"
        await self._database.rows(sql, (assistant_id,))

    async def search_assistants(
        self, owner: str, search: AssistantSearch
    ) -> tuple[list[Assistant], int]:
        sql = "select record from tokenweir_assistants where owner in ('', %s) order by seq"
        rows = await self._database.rows(sql, (owner,))  # some hundreds at most
        return find_assistants((assistant_of(record) for (record,) in rows), search)

    # Retention

    async def old_threads(self, before: str, limit: int) -> Sequence[Thread]:
        """See ``Store``; only one server gets them, as it is enough if one deletes them."""
        if not await self._is_eldest():
            return []
        sql = (
            f"select {_THREAD} from tokenweir_threads t where updated_at < %s and not exists "
            "(select 1 from tokenweir_runs r where r.thread = t.id) order by seq limit %s"
        )
        return [thread_of(row) for row in await self._database.rows(sql, (before, limit))]

    # Inside

    async def _is_eldest(self) -> bool:
        """Whether no other live server has a smaller number."""
        sql = (
            f"select coalesce(min(session), 0) from tokenweir_servers where id in ({Session.ALIVE})"
        )
        return int((await self._database.rows(sql))[0][0]) in (0, self._session.number)

    async def _lock(self, connection: Connection, thread_id: str, owner: str) -> Thread:
        sql = f"select {_THREAD} from tokenweir_threads where id = %s and owner = %s for update"
        row = await (await connection.execute(sql, (thread_id, owner))).fetchone()
        if row is None:
            raise NotFoundError(f"there is no thread {thread_id}")
        return thread_of(row)

    async def _check_threads(self, connection: Connection, owner: str, limits: Limits) -> None:
        sql = "select count(*) from tokenweir_threads where owner = %s"
        ((count,),) = await (await connection.execute(sql, (owner,))).fetchall()
        check_threads(count, limits)


async def _run_owner(connection: Connection, thread_id: str) -> str | None:
    """The owner of the runs on a thread; None if there are none."""
    sql = (
        "select owner from tokenweir_runs where thread = %s "
        "and not (undone and status not in ('pending', 'running')) order by seq limit 1"
    )
    row = await (await connection.execute(sql, (thread_id,))).fetchone()
    return None if row is None else str(row[0])
