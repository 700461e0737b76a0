"""A Postgres of the service's own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pytest

from tests.waiting import wait_until
from tokenweir.serving.postgres.embedded import EmbeddedPostgres, programs
from tokenweir.serving.postgres.schema import DatabaseError

pytestmark = pytest.mark.skipif(programs() is None, reason="needs Postgres' programs")


def numbers(postgres: EmbeddedPostgres) -> list[tuple[int]]:
    with psycopg.connect(postgres.url()) as connection:
        connection.execute("create table if not exists numbers (number int)")
        connection.execute("insert into numbers select count(*) from numbers")
        return connection.execute("select number from numbers order by number").fetchall()


def test_its_data_stays(tmp_path: Path) -> None:
    """What was written is there after a stop, after a crash of Postgres, and when a process that
    was killed has left it running; also in a folder whose path is too long for a socket."""
    folder = tmp_path / "a-long-name" / ("x" * 100)
    with EmbeddedPostgres(folder) as postgres:
        assert numbers(postgres) == [(0,)]
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=5432, connect_timeout=1, user="postgres")
    assert not postgres.runs
    left = EmbeddedPostgres(folder)
    left.start()
    assert len(numbers(left)) == 2
    with EmbeddedPostgres(folder) as postgres:
        assert len(numbers(postgres)) == 3
        pid = int((folder / "data" / "postmaster.pid").read_text().split("\n")[0])
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not postgres.runs)
        postgres.start()
        assert len(numbers(postgres)) == 4
    assert folder.stat().st_mode & 0o077 == 0


def test_data_of_another_version(tmp_path: Path) -> None:
    """Data of another Postgres is not touched, and told in one sentence."""
    with EmbeddedPostgres(tmp_path):
        pass
    (tmp_path / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(DatabaseError, match="belong to Postgres 9, but the programs are version"):
        EmbeddedPostgres(tmp_path).start()
