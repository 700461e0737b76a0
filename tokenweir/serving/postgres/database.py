"""Connections to Postgres, and its trouble told as StoreError.

A connection that broke is replaced by a new one. Nothing is tried twice here: whoever called knows
whether that may be done.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias

import psycopg
from psycopg import errors
from psycopg.abc import Buffer
from psycopg.types.string import StrDumperUnknown
from psycopg_pool import AsyncConnectionPool

from tokenweir.serving.problems import LostError, StoreError

__all__ = ["APPLICATION", "LEASE", "NOTIFY", "NOT_HELD", "Connection", "Database", "told"]

Connection: TypeAlias = "psycopg.AsyncConnection[tuple[Any, ...]]"

LEASE = 10.0
"""Seconds for which a server is taken to live after a sign of life."""

NOT_HELD = "TW001"
"""The SQLSTATE that ``tokenweir_hold`` raises; see ``schema.py``."""

_CONNECTIONS = (2, 16)
"""At least and at most."""

_PATIENCE = 5.0
"""Seconds that a connection is waited for."""

_LOCKED = 10.0
"""Seconds that a lock is waited for: longer than anybody may stand idle who has it."""

_FOR_EVER = 1e9

APPLICATION = "tokenweir"
"""The name of all connections of servers."""

_CONNECTED: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": 5,
    "application_name": APPLICATION,
}

_logger = logging.getLogger("tokenweir.serving")


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Tell trouble of the database as StoreError, and a run that is not held as LostError."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, errors.InternalError) as error:
        _logger.info("Postgres: %s", error)
        raise StoreError from error
    except psycopg.DatabaseError as error:
        if error.sqlstate == NOT_HELD:
            raise LostError("the run is another worker's now") from None
        raise


class _Text(StrDumperUnknown):
    """A text without NUL, which Postgres refuses: U+FFFD is in its place. No id has one."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\ufffd"))


NOTIFY = "select pg_notify('tokenweir', word) from unnest(%s::text[]) word"
"""Says words to all servers."""


class Database:
    """Connections, as many as are needed at once, in one event loop.

    Args:
        url: ``postgresql://...``, as libpq has it.
    """

    def __init__(self, url: str, lease: float = LEASE) -> None:
        self.url = url
        self.lease = lease
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=_CONNECTIONS[0],
            max_size=_CONNECTIONS[1],
            timeout=_PATIENCE,
            reconnect_timeout=_FOR_EVER,
            kwargs={**_CONNECTED, "prepare_threshold": 2},
            configure=self.configure,
            open=False,
        )

    @property
    def idle(self) -> float:
        """Seconds for which a transaction may stand idle."""
        return 0.75 * self.lease

    @property
    def pool(self) -> AsyncConnectionPool[Any]:
        """For LangGraph's key-value store, which takes its connections itself."""
        return self._pool

    async def open(self) -> None:
        """Connect. Raises psycopg.OperationalError if that cannot be done."""
        await (await self.connect()).close()
        await self._pool.open(wait=True)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def connect(self) -> Connection:
        """A connection of the caller's own."""
        connection = await psycopg.AsyncConnection.connect(self.url, **_CONNECTED)
        await self.configure(connection)
        return connection

    async def configure(self, connection: Connection) -> None:
        """Have no transaction stand idle as long as a lease, and take any text.

        A process that is stopped within a transaction must not keep its run longer than that.
        """
        connection.adapters.register_dumper(str, _Text)
        await connection.execute(
            "select set_config('idle_in_transaction_session_timeout', %s, false), "
            "set_config('lock_timeout', %s, false), "
            "set_config('client_min_messages', 'warning', false)",
            (str(int(1000 * self.idle)), str(int(1000 * _LOCKED))),
        )

    async def renew(self) -> None:
        """Throw away the connections that broke, as after a restart of Postgres."""
        await self._pool.check()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection that commits each statement. Raises StoreError."""
        with told():
            async with self._pool.connection() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection within a transaction, which is committed at the end. Raises StoreError."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def rows(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        """What one statement gives. Raises StoreError."""
        async with self.connection() as connection:
            return await (await connection.execute(sql, values)).fetchall()

    async def tell(self, words: list[str]) -> None:
        """Say something to all servers. Never within a transaction that writes.

        Commits that notify wait for each other in the whole of Postgres, also while they wait for
        the disk. It is a hint, and may be lost: everybody looks from time to time anyhow.
        """
        with contextlib.suppress(StoreError):
            await self.rows(NOTIFY, (words,))
