"""A run that is stopped while its server dies: readers are told what its thread does not keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests import http_client
from tests.serving.conftest import Server
from tests.serving.running.test_resume import Reader, start
from tests.waiting import wait_until
from tokenweir.serving.postgres.database import APPLICATION
from tokenweir.streaming._langgraph.keeping import NULL_TASK_ID
from tokenweir.testing import Provider, Reply


@contextmanager
def nothing_is_written(database_url: str, run: str) -> Iterator[None]:
    """Keep a run's events from being written, until its server is dead, and then for good."""
    with psycopg.connect(database_url) as lock:
        lock.execute("select 1 from tokenweir_runs where id = %s for update", (run,))
        yield
        end_connections(database_url)


def end_connections(database_url: str) -> None:
    """Have Postgres drop what servers that are dead have asked for."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 20000) from pg_stat_activity "
            "where application_name = %s and datname = current_database()",
            (APPLICATION,),
        )


def said_in_state(url: str, thread: str) -> list[str]:
    state = http_client.get(f"{url}/threads/{thread}/state").json()
    assert state["next"] == []
    return [each["content"] for each in state["values"]["messages"] if each["type"] == "ai"]


WORDS = ("chat", "--data")
SAID: Any = {"messages": [{"role": "user", "content": "hi"}]}


def both(reader: Reader, run: dict[str, Any]) -> list[str]:
    """What a reader has who comes back, who reads anew, and the thread: all the same."""
    reader.read()
    anew = Reader(reader.url, run)
    anew.read()
    kept = said_in_state(reader.url, run["thread_id"])
    assert reader.said() == anew.said() == kept
    return kept


def test_what_only_readers_know_is_void(
    serve: Callable[..., Server], provider: Provider, database_url: str
) -> None:
    """Nobody knows the last words that a killed server has shown. So the answer that they belong to
    is void when another server ends the run: for its readers and in its thread."""
    provider.on("hi", Reply("one two three four", hold_after=1, stall_after=3))
    server = serve(*WORDS, database_url)
    run = start(server.url, "chat", input=SAID)
    reader = Reader(server.url, run)
    reader.read(lambda: reader.said() == ["one"])
    with nothing_is_written(database_url, run["run_id"]):
        provider.release()
        reader.read(lambda: reader.said() == ["one two three"])
        server.kill()
    reader.url = serve(*WORDS, database_url, "--max-runs", "0").url  # ends runs, executes none
    http_client.post(f"{reader.url}{reader.path}/cancel?wait=true")
    assert both(reader, run) == []


def test_killed_while_it_keeps_what_was_shown(
    serve: Callable[..., Server], provider: Provider, database_url: str
) -> None:
    """A server that is killed while it puts a stopped run's answer into the thread, which takes
    several checkpoints: another one goes on with that."""
    provider.on("hi", Reply("one two three", stall_after=2))
    server = serve(*WORDS, database_url)
    run = start(server.url, "chat", input=SAID)
    reader = Reader(server.url, run)
    reader.read(lambda: reader.said() == ["one two"])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "create function wait() returns trigger language plpgsql as "
            "$$ begin perform pg_sleep(600); return new; end $$"
        )
        connection.execute(
            "create trigger wait before insert on checkpoint_writes for each row "
            f"when (new.task_id = '{NULL_TASK_ID}') execute function wait()"
        )
        http_client.post(f"{server.url}{reader.path}/cancel")
        waits = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
        wait_until(lambda: connection.execute(waits).fetchall() == [(1,)])
        server.kill()
        end_connections(database_url)
        connection.execute("drop trigger wait on checkpoint_writes")
    reader.url = serve(*WORDS, database_url).url
    assert both(reader, run) == ["one two"]
