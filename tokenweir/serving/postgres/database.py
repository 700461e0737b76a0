"""Connections to Postgres, with failures raised as StoreError.

A broken connection is replaced by a new one. Nothing is retried here: only the caller knows whether
that is safe.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias

import psycopg
from psycopg import errors
from psycopg.abc import Buffer
from psycopg.pq import PipelineStatus
from psycopg.types.string import StrDumperUnknown
from psycopg_pool import AsyncConnectionPool

from tokenweir.serving.problems import LostError, StoreError

__all__ = ["APPLICATION", "LEASE", "NOTIFY", "NOT_HELD", "Connection", "Database", "store_errors"]

Connection: TypeAlias = "psycopg.AsyncConnection[tuple[Any, ...]]"

LEASE = 10.0
"""Seconds for which a server counts as alive after a heartbeat."""

NOT_HELD = "TW001"
"""The SQLSTATE that ``tokenweir_hold`` raises; see ``schema.py``."""

_CONNECTIONS = (2, 16)
"""The minimum and maximum number of connections."""

_PATIENCE = 5.0
"""Seconds to wait for a connection."""

_LOCKED = 10.0
"""Seconds to wait for a lock: longer than a transaction that has one may be idle."""

_FOR_EVER = 1e9

APPLICATION = "tokenweir"
"""The application name of all servers' connections."""

_CONNECTED: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": 5,
    "application_name": APPLICATION,
}

_logger = logging.getLogger("tokenweir.serving")


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Raise database failures as StoreError, and LostError for a run that is not held."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, errors.InternalError) as error:
        _logger.info("Postgres: %s", error)
        raise StoreError from error
    except psycopg.DatabaseError as error:
        if error.sqlstate == NOT_HELD:
            raise LostError from None
        raise


class _Text(StrDumperUnknown):
    """A text in which U+FFFD replaces NUL, which Postgres refuses. Ids never have a NUL."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\ufffd"))


NOTIFY = "select pg_notify('tokenweir', word) from unnest(%s::text[]) word"
"""Send words to all servers."""


class Database:
    """A pool of connections for one event loop.

    Args:
        url: ``postgresql://...``, as for libpq.
        lease: Seconds for which a server counts as alive after a heartbeat.
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
            reset=self._reset,
            open=False,
        )

    @property
    def idle(self) -> float:
        """Seconds for which a transaction may be idle."""
        return 0.75 * self.lease

    @property
    def pool(self) -> AsyncConnectionPool[Any]:
        """The pool, for LangGraph's key-value store."""
        return self._pool

    async def open(self) -> None:
        """Connect. Raises psycopg.OperationalError on failure."""
        await (await self.connect()).close()
        await self._pool.open(wait=True)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def connect(self) -> Connection:
        """A connection for the caller alone."""
        connection = await psycopg.AsyncConnection.connect(self.url, **_CONNECTED)
        await self.configure(connection)
        return connection

    async def configure(self, connection: Connection) -> None:
        """Limit how long a transaction may be idle, and accept any text.

        A process that is suspended in a transaction must not hold its run for longer than a lease.
        """
        connection.adapters.register_dumper(str, _Text)
        await connection.execute(
            "select set_config('idle_in_transaction_session_timeout', %s, false), "
            "set_config('lock_timeout', %s, false), "
            "set_config('client_min_messages', 'warning', false)",
            (str(int(1000 * self.idle)), str(int(1000 * _LOCKED))),
        )

    async def _reset(self, connection: Connection) -> None:
        """Have the pool discard a connection that is still in pipeline mode.

        psycopg leaves it so if it is cancelled as the pipeline begins or ends. Errors of the next
        user would be raised late, and Postgres would warn of each COMMIT.
        """
        if connection.pgconn.pipeline_status != PipelineStatus.OFF:
            raise psycopg.OperationalError("cancelled in a pipeline; a new one replaces it")

    async def renew(self) -> None:
        """Drop broken connections, such as after a restart of Postgres."""
        await self._pool.check()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection that commits each statement. Raises StoreError."""
        with store_errors():
            async with self._pool.connection() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction, which is committed on exit. Raises StoreError."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def rows(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement. Raises StoreError."""
        async with self.connection() as connection:
            return await (await connection.execute(sql, values)).fetchall()

    async def tell(self, words: list[str]) -> None:
        """Notify all servers. Never call this within a transaction that writes.

        In Postgres, commits that notify wait for each other, even while they wait for the disk. A
        notification may be lost: all receivers poll as well.
        """
        with contextlib.suppress(StoreError):
            await self.rows(NOTIFY, (words,))
