"""A home in Postgres, for any number of servers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import psycopg
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.postgres.aio import AsyncPostgresStore

from tokenweir.serving.postgres.carriers import NatsCarrier, NotifyCarrier
from tokenweir.serving.postgres.checkpoints import PostgresCheckpoints
from tokenweir.serving.postgres.database import LEASE, Database, store_errors
from tokenweir.serving.postgres.log import PostgresLog
from tokenweir.serving.postgres.notifications import Notifications
from tokenweir.serving.postgres.schema import DatabaseError, prepare
from tokenweir.serving.postgres.session import Session
from tokenweir.serving.postgres.store import PostgresStore
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.items import Items
from tokenweir.streaming._langgraph.state_types import state_types

__all__ = ["postgres_home"]


def postgres_home(
    url: str, graphs: Mapping[str, Any], *, lease: float = LEASE, live: str | None = None
) -> Callable[[], contextlib.AbstractAsyncContextManager[Home]]:
    """A home in Postgres, for ``create_app``; missing tables are created.

    Reading a checkpoint creates only objects of types that occur in these graphs' states.

    Args:
        url: ``postgresql://user:password@host/database``. It must be a direct connection: LISTEN
            and advisory locks do not work through PgBouncer in transaction mode.
        graphs: The graphs that are served.
        lease: Seconds without a heartbeat after which a server counts as dead.
        live: ``nats://...``, or several joined by commas: tokens for readers at other servers go
            through NATS instead of Postgres.

    Raises:
        DatabaseError: On opening, if Postgres cannot be reached, or the tables are those of a
            newer Tokenweir.
    """

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Home]:
        database = Database(url, lease)
        try:
            await database.open()
            await prepare(database)
        except psycopg.Error as error:
            await database.close()
            reason = " ".join(str(error).split())
            raise DatabaseError(f"Postgres cannot be used: {reason}") from None
        session = Session(database)
        nats = None if live is None else NatsCarrier(live)
        notify = NotifyCarrier(database, session)
        notifications = Notifications(database, session, nats)
        try:
            await session.open()
            if nats is not None:
                nats.open()
            log = PostgresLog(database, notifications, notify, nats)
            try:
                await log.tidy()
                serde = JsonPlusSerializer(allowed_msgpack_modules=state_types(graphs.values()))
                checkpoints = PostgresCheckpoints(database, serde=serde)
                items = Items(AsyncPostgresStore(database.pool), store_errors)
                store = PostgresStore(database, session, notifications, log)
                try:
                    yield Home(store, log, checkpoints, items)
                finally:
                    await items.close()
            finally:
                await log.close()
        finally:
            await notifications.close()
            await session.close()
            await notify.close()
            if nats is not None:
                await nats.close()
            await database.close()

    return opened
