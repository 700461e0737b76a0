"""The tables of the home in Postgres, by version: a newer server migrates older tables.

LangGraph's saver and its key-value store have their own tables and versions.
"""

from __future__ import annotations

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.store.postgres.aio import AsyncPostgresStore

from tokenweir.errors import TokenweirError
from tokenweir.serving.postgres.database import NOT_HELD, Connection, Database

__all__ = ["VERSION", "DatabaseError", "prepare"]


class DatabaseError(TokenweirError):
    """Raised if a database cannot hold a server's data."""


_FIRST = f"""
create table tokenweir_servers (
    id text primary key, session int not null,
    lease_until timestamptz not null, locked_at timestamptz not null);
create sequence tokenweir_sessions as int cycle;
create table tokenweir_threads (
    seq bigserial primary key, id text not null unique, owner text not null, status text not null,
    created_at text not null, updated_at text not null, state_updated_at text not null,
    metadata jsonb not null, record bytea not null);
create index on tokenweir_threads (owner, created_at);
create index on tokenweir_threads using gin (metadata jsonb_path_ops);
create index on tokenweir_threads (updated_at);
create table tokenweir_assistants (
    seq bigserial primary key, id text not null unique, owner text not null, graph text not null,
    own boolean not null, record bytea not null);
create index on tokenweir_assistants (owner);
create table tokenweir_runs (
    seq bigserial primary key, id text not null unique, thread text not null, owner text not null,
    status text not null default 'pending', due timestamptz not null, strategy text not null,
    epoch int not null default 0, server text,
    stopping boolean not null default false, undone boolean not null default false,
    error bytea, size bigint not null default 0, updated_at text not null, record bytea not null);
create index on tokenweir_runs (thread, seq);
create index on tokenweir_runs (due, seq) where status = 'pending';
create index on tokenweir_runs (server) where status in ('pending', 'running');
create index on tokenweir_runs (owner) where status in ('pending', 'running');
create index on tokenweir_runs (seq) where status not in ('pending', 'running');
create table tokenweir_blocks (
    run text not null, last bigint not null, epoch int not null, events bytea not null,
    primary key (run, last));
create table tokenweir_envelopes (
    run text not null, id bigint not null, head bytea not null, tail bytea not null,
    primary key (run, id));
create table tokenweir_former_writes (
    run text not null, thread_id text not null, checkpoint_ns text not null,
    checkpoint_id text not null, task_id text, task_path text, idx int, channel text, type text,
    blob bytea);
create index on tokenweir_former_writes (thread_id);
create index on tokenweir_former_writes (run);
create function tokenweir_hold(run text, held int) returns void language plpgsql as $$
begin
    perform 1 from tokenweir_runs where id = run and epoch = held
        and status in ('pending', 'running') for share;
    if not found then
        raise exception 'run % is not held under epoch %', run, held using errcode = '{NOT_HELD}';
    end if;
end $$;
"""

_TURNS = """
alter table tokenweir_threads add column turns int not null default 0;
alter table tokenweir_runs add column turn int not null default 0;
create index on tokenweir_runs (thread, turn);
"""

_PLACES = "alter table tokenweir_servers add column place text not null default ''"
"""The name that users see for a server; older servers, which may still run, leave it empty."""

_LOST = "alter table tokenweir_runs add column lost int not null default 0"
"""How often a run's server died. Servers that are older do not count."""

_MIGRATIONS = (_FIRST, _TURNS, _PLACES, _LOST)
"""The migration from each version to the next, from 0, which has no tables.

All but the first only add things, so that older servers can still run next to a newer one.
"""

VERSION = len(_MIGRATIONS)
"""The version of this server."""

_LOCK = 0x746F6B65
"""The advisory lock for changing the tables."""


async def prepare(database: Database) -> None:
    """Create the tables, or migrate them. Several servers may call this at the same time.

    Raises:
        DatabaseError: If a newer server has migrated them further.
    """
    connection = await database.connect()
    async with connection:
        # Poll instead of waiting for the lock in Postgres: its holder may build an index
        # concurrently, which waits for all running statements, and thus for the waiting one.
        while not (await _one(connection, f"select pg_try_advisory_lock({_LOCK})")):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # another process has it
        await connection.execute("set lock_timeout = 0")
        await connection.execute(
            "create table if not exists tokenweir_version (version int not null)"
        )
        found = await _one(connection, "select coalesce(max(version), 0) from tokenweir_version")
        if found > VERSION:
            raise DatabaseError(
                f"the tables in this database have version {found}, but this server knows only "
                f"versions up to {VERSION}: a newer Tokenweir has migrated them. Start that "
                "version, or use another database"
            )
        for version in range(found, VERSION):
            async with connection.transaction():
                await connection.execute(_MIGRATIONS[version])
                await connection.execute("delete from tokenweir_version")
                await connection.execute(
                    "insert into tokenweir_version values (%s)", (version + 1,)
                )
        await AsyncPostgresSaver(connection).setup()  # type: ignore[arg-type]
        await AsyncPostgresStore(connection).setup()  # type: ignore[arg-type]


async def _one(connection: Connection, sql: str) -> int:
    row = await (await connection.execute(sql)).fetchone()
    assert row is not None
    return int(row[0])
