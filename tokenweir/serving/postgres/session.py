"""A connection that shows that a server is alive, and receives the others' notifications.

It holds an advisory lock, which Postgres releases as soon as the process is dead, so others need
not wait for the lease to expire. It listens for notifications, and has no other use.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
from collections.abc import Callable

import psycopg

from tokenweir.serving.postgres.database import Connection, Database, store_errors
from tokenweir.serving.problems import StoreError

__all__ = ["CLASS", "Session"]

CLASS = 0x7477
"""The first half of the servers' advisory locks; the second is the session's number."""

_RETRY = 0.2
"""Seconds until a broken connection is opened again."""

_ALIVE = f"""
select id from tokenweir_servers s where lease_until > now() and (
    -- A lock lost by a restart of Postgres does not mean that the server is dead.
    locked_at < pg_postmaster_start_time() or exists (
        select 1 from pg_locks l where l.locktype = 'advisory' and l.classid = {CLASS}
        and l.objid = s.session and l.database = (
            select oid from pg_database where datname = current_database())))
"""

_logger = logging.getLogger("tokenweir.serving")


class Session:
    """Heartbeats of the servers in this process, and notifications from all servers.

    Attributes:
        ALIVE: A query for the ids of live servers.
        number: The number of this connection in Postgres; it changes when the connection breaks.
        problem: Why there is no connection at the moment; None if there is one.
        servers: The number of live servers at the last heartbeat.
    """

    ALIVE = _ALIVE

    def __init__(self, database: Database) -> None:
        self.number = 0
        self.problem: str | None = None
        self.servers = 1
        self._database = database
        self._servers: set[str] = set()
        self._hearers: list[Callable[[str], None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def hear(self, hearer: Callable[[str], None]) -> None:
        """Call a function with each word that a server sends by ``Database.tell``.

        It is called with "" when words may have been lost.
        """
        self._hearers.append(hearer)

    async def open(self) -> None:
        """Start to listen. Raises StoreError."""
        with store_errors():
            connection = await self._connect()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._listen(connection)),
            loop.create_task(self._send_heartbeats()),
        ]

    async def close(self) -> None:
        """Stop listening: any server may claim the runs that this process holds."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def heartbeat(self, server: str) -> None:
        """Renew the lease of a server in this process. Raises StoreError."""
        self._servers.add(server)
        rows = await self._database.rows(
            "insert into tokenweir_servers (id, session, lease_until, locked_at, place) values "
            "(%(id)s, %(session)s, now() + %(lease)s * interval '1 s', now(), %(place)s) "
            "on conflict (id) do update set lease_until = excluded.lease_until, "
            "session = excluded.session, locked_at = case "
            "when tokenweir_servers.session = excluded.session then tokenweir_servers.locked_at "
            "else excluded.locked_at end "
            "returning (select count(*) from tokenweir_servers where lease_until > now())",
            {
                "id": server,
                "session": self.number,
                "lease": self._database.lease,
                "place": f"{platform.node()} {os.getpid()}",
            },
        )
        self.servers = int(rows[0][0])

    async def leave(self, server: str) -> None:
        """End the lease of a server in this process. Raises StoreError."""
        self._servers.discard(server)
        await self._database.rows(
            "delete from tokenweir_servers where id = %s returning 1", (server,)
        )

    async def _send_heartbeats(self) -> None:
        """Send four heartbeats per lease."""
        while True:
            await asyncio.sleep(self._database.lease / 4)
            for server in list(self._servers):
                try:
                    await self.heartbeat(server)
                except StoreError as error:
                    _logger.warning("this server's heartbeat failed: %s", error.__cause__)

    async def _connect(self) -> Connection:
        connection = await self._database.connect()
        try:
            found = await connection.execute(
                "select pg_advisory_lock(%s, number), number "
                "from (select nextval('tokenweir_sessions')::int as number) made",
                (CLASS,),
            )
            row = await found.fetchone()
            assert row is not None
            await connection.execute("listen tokenweir")
        except BaseException:
            await connection.close()
            raise
        self.number = row[1]
        return connection

    async def _listen(self, connection: Connection | None) -> None:
        while True:
            try:
                if connection is None:
                    connection = await self._connect()
                    await self._database.renew()
                    for server in list(self._servers):
                        await self.heartbeat(server)
                self.problem = None
                self._say("")
                async for notice in connection.notifies():
                    self._say(notice.payload)
            except asyncio.CancelledError:
                if connection is not None:
                    await connection.close()
                raise
            except (psycopg.Error, StoreError) as error:
                if self.problem is None:
                    _logger.error("the connection to Postgres broke; reconnecting: %s", error)
                self.problem = " ".join(str(error).split())
            if connection is not None:
                with contextlib.suppress(psycopg.Error):
                    await connection.close()
                connection = None
            await asyncio.sleep(_RETRY)

    def _say(self, word: str) -> None:
        for hearer in self._hearers:
            hearer(word)
