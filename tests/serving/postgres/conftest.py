"""A Postgres for all tests here, and a database of its own for each."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from tests.postgres_server import running_postgres
from tokenweir.serving.postgres.embedded import EmbeddedPostgres
from tokenweir.serving.postgres.home import postgres_home
from tokenweir.serving.problems import Limits
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.ids import new_id
from tokenweir.serving.running.records import Run, RunRequest
from tokenweir.serving.running.store import Hold

pytest.register_assert_rewrite("tests.serving.postgres.stories")

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    with running_postgres() as running:
        yield running


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> str:
    """An empty database."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return postgres.url(name)


@pytest.fixture
async def home(database_url: str) -> AsyncIterator[Home]:
    """A server's home."""
    async with postgres_home(database_url, {})() as home:
        yield home


@pytest.fixture
async def other(database_url: str, home: Home) -> AsyncIterator[Home]:
    """Another server's, on the same database."""
    async with postgres_home(database_url, {})() as other:
        yield other


async def a_hold(home: Home, server: str = "a") -> Hold:
    """A run that a server has claimed: a new one, or that of a server that is dead."""
    await home.store.heartbeat(server)
    if not (held := await home.store.claim(server, 1)):
        request = RunRequest(graph="graph")
        run = Run(id=new_id(), thread_id=new_id(), request=request, assistant_id="assistant")
        await home.store.create(run, Limits())
        held = await home.store.claim(server, 1)
    return held[0]
