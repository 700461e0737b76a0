"""A new version is brought out beside the old one, which serves meanwhile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.serving.conftest import GRAPHS, Server
from tests.serving.postgres.next_version import NEXT
from tests.serving.running.test_resume import Reader, start
from tokenweir.serving.postgres import schema
from tokenweir.serving.postgres.home import postgres_home
from tokenweir.serving.postgres.rows import encode
from tokenweir.serving.running.ids import new_id
from tokenweir.serving.running.records import Run, RunRequest
from tokenweir.testing import Provider, Reply

ROOT = Path(__file__).parents[3]


class NextServer:
    """A server of the next version."""

    def __init__(self, words: list[str], environ: dict[str, str]) -> None:
        module = ["-m", "tests.serving.postgres.next_version", "serve", "--port", "0"]
        self._process = subprocess.Popen(
            [sys.executable, *module, *words],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()


def version_of(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        ((version,),) = connection.execute("select version from tokenweir_version").fetchall()
    return int(version)


@pytest.mark.one_python
def test_old_and_new_side_by_side(
    serve: Callable[..., Server], provider: Provider, tmp_path: Path, database_url: str
) -> None:
    """The first new server changes the tables while old ones execute runs. Each reads the other's
    runs and goes on with them when it is gone; an old one that starts now says why it does not."""
    provider.on("first a", Reply("one of a", hold_after=1))
    provider.on("first b", Reply("lost words", stall_after=1), "one of b")
    provider.on("first c", Reply("lost words", stall_after=1), "one of c")
    for topic in "abc":
        provider.on(f"second {topic}", f"two of {topic}")
    words = ["sample:two_steps", "--data", database_url, "--drain-seconds", "0"]
    old = [serve(*words, "--max-runs", "1") for _ in range(2)]

    def begin(topic: str, url: str) -> Reader:
        """A run, of which its reader at this address has something."""
        reader = Reader(url, start(url, "two_steps", input={"topic": topic}))
        reader.read(lambda: bool(reader.texts))
        return reader

    def check(reader: Reader, topic: str) -> None:
        reader.read()
        assert reader.said() == [f"one of {topic}", f"two of {topic}"]

    with ExitStack() as servers:

        def serve_next() -> NextServer:
            next_words = [each.replace("sample:", f"{GRAPHS}:") for each in words]
            server = NextServer(next_words, provider.environ)
            servers.callback(server.kill)
            assert server.url.startswith("http://")
            return server

        # Each old server executes one, and has no room for more.
        a, b = begin("a", old[0].url), begin("b", old[1].url)
        assert version_of(database_url) == schema.VERSION
        new = serve_next()
        assert version_of(database_url) == schema.VERSION + 1
        c = begin("c", old[0].url)  # which is read there, and executed by the new one
        a.url, a.last = new.url, "-1"
        a.texts.clear()
        a.read(lambda: bool(a.texts))
        new.kill()
        provider.release()
        check(c, "c")  # an old one goes on with it, when it has room
        a.url = old[1].url
        check(a, "a")
        b.url = serve_next().url
        for server in old:
            assert server.terminate() == 0
        check(b, "b")
        again = Server(words, tmp_path, provider.environ)
        assert again.process.wait(60) == 1
        assert "a newer Tokenweir has migrated them" in again.stderr()
        assert "Traceback" not in again.stderr()
        again.close()


@pytest.mark.parametrize("version", range(1, schema.VERSION))
async def test_tables_of_each_version_before(database_url: str, version: int) -> None:
    """They are brought up to date, and what waited in them is executed."""
    run = Run(id=new_id(), thread_id=new_id(), request=RunRequest(graph="graph"), assistant_id="a")
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        for migration in schema._MIGRATIONS[:version]:
            await connection.execute(migration)
        await connection.execute("create table tokenweir_version (version int not null)")
        await connection.execute("insert into tokenweir_version values (%s)", (version,))
        await connection.execute(
            "insert into tokenweir_runs (id, thread, owner, due, strategy, updated_at, record) "
            "values (%s, %s, '', now(), 'enqueue', %s, %s)",
            (run.id, run.thread_id, run.updated_at, encode(run)),
        )
    async with postgres_home(database_url, {})() as home:
        await home.store.heartbeat("a")
        assert [hold.run.id for hold in await home.store.claim("a", 1)] == [run.id]
    assert version_of(database_url) == schema.VERSION


@pytest.mark.parametrize("migration", [*schema._MIGRATIONS[1:], NEXT])
def test_an_older_server_can_work_on_newer_tables(migration: str) -> None:
    """A migration only adds: indices, and columns for which an older server gives no value."""
    for statement in filter(None, map(str.strip, migration.split(";"))):
        assert re.fullmatch(
            r"create index on \w+ \(.*\)|alter table \w+ add column \w+ \w+( not null)? default .*",
            statement,
        )
