"""The state of a service of several servers: live servers, waiting runs, oldest runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from tokenweir.serving.postgres.schema import DatabaseError
from tokenweir.serving.postgres.session import Session
from tokenweir.serving.running.store import Counts

__all__ = ["COUNTS", "ServerStatus", "Status", "counts_of", "status_of"]

_OPEN = "status in ('pending', 'running')"

COUNTS = f"""
with alive as materialized ({Session.ALIVE})
select
    (select count(*) from alive),
    (select count(*) from tokenweir_runs where status = 'pending' and due <= now()),
    (select count(*) from tokenweir_runs where status = 'pending' and due > now()),
    (select extract(epoch from now() - min(due))::float8 from tokenweir_runs
        where status = 'pending' and due <= now()),
    (select extract(epoch from now() - min(due))::float8 from tokenweir_runs
        where status = 'running'),
    (select count(*) from tokenweir_threads)
"""

_BY_STATUS = """
select status, count(*) from tokenweir_runs where not (undone and status not in
('pending', 'running')) group by status
"""

_SERVERS = f"""
with alive as materialized ({Session.ALIVE})
select s.place, s.id in (select id from alive),
    extract(epoch from s.lease_until - now())::float8,
    (select count(*) from tokenweir_runs r where r.server = s.id and r.{_OPEN})
from tokenweir_servers s order by 2 desc, 1
"""


@dataclass(frozen=True)
class ServerStatus:
    """One server.

    Attributes:
        place: Its machine and process.
        alive: Whether it is alive; if not, others take over its runs.
        lease: Seconds until its lease expires without a heartbeat.
        runs: The number of runs that it holds.
    """

    place: str
    alive: bool
    lease: float
    runs: int


@dataclass(frozen=True)
class Status:
    """The whole service.

    Attributes:
        servers: The servers, live ones first. A dead one is listed for an hour.
        runs: Runs by status, including ended runs that are kept.
        waiting: Runs that are due, and wait for a server or for their turn on their thread.
        later: Runs that are not due.
        oldest_waiting: Seconds since the oldest waiting run became due; 0 if none waits.
        oldest_running: Seconds since the oldest running run became due; 0 if none runs.
        threads: Threads that are kept.
    """

    servers: list[ServerStatus]
    runs: dict[str, int]
    waiting: int
    later: int
    oldest_waiting: float
    oldest_running: float
    threads: int


def counts_of(row: tuple[Any, ...], by_status: dict[str, int]) -> Counts:
    """A row of ``COUNTS`` as the store's counts."""
    servers, waiting, _, oldest, _, threads = row
    return Counts(by_status, waiting, threads, servers, oldest or 0.0)


def status_of(url: str) -> Status:
    """Read the status from a database. Raises DatabaseError."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            row = connection.execute(COUNTS).fetchone()
            assert row is not None
            by_status = connection.execute(_BY_STATUS).fetchall()
            servers = connection.execute(_SERVERS).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        raise DatabaseError("no server of this version has used this database yet") from None
    except psycopg.Error as error:
        raise DatabaseError(f"Postgres cannot be used: {' '.join(str(error).split())}") from None
    _, waiting, later, oldest_waiting, oldest_running, threads = row
    return Status(
        servers=[ServerStatus(*each) for each in servers],
        runs={str(status): int(count) for status, count in by_status},
        waiting=waiting,
        later=later,
        oldest_waiting=oldest_waiting or 0.0,
        oldest_running=oldest_running or 0.0,
        threads=threads,
    )
