"""The tables: made once by however many servers start at once, and refused if they are newer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from tests.serving.conftest import Server
from tokenweir.serving.postgres.database import Database
from tokenweir.serving.postgres.home import postgres_home
from tokenweir.serving.postgres.schema import VERSION, DatabaseError, prepare
from tokenweir.testing import Provider


async def test_several_servers_start_at_once(database_url: str) -> None:
    """Each finds the tables there, in the version that it knows."""

    async def start() -> None:
        database = Database(database_url)
        await database.open()
        try:
            await prepare(database)
        finally:
            await database.close()

    await asyncio.gather(*(start() for _ in range(5)))
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select version from tokenweir_version").fetchall() == [
            (VERSION,)
        ]


async def test_newer_tables_are_refused(database_url: str) -> None:
    """A server does not write into tables that a newer one has changed, and says what to do."""
    async with postgres_home(database_url, {})():
        pass
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update tokenweir_version set version = version + 1")
    with pytest.raises(DatabaseError, match="a newer Tokenweir has migrated them"):
        async with postgres_home(database_url, {})():
            pass


def test_the_command_says_what_is_wrong(provider: Provider, tmp_path: Path) -> None:
    """A database that cannot be reached is one line, without a traceback and without the
    password."""
    url = "postgresql://me:secret@127.0.0.1:1/none"
    server = Server(["chat", "--data", url], tmp_path, provider.environ)
    try:
        assert server.process.wait(60) == 1
        said = server.stderr()
        assert "tokenweir: Postgres cannot be used: connection failed" in said
        assert "secret" not in said
        assert "Traceback" not in said
    finally:
        server.close()
