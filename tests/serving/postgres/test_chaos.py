"""Several servers on one Postgres, some of which are killed or stopped while they write.

By hand, for longer: ``TOKENWEIR_TEST_FAULTS=5 pytest -n0 tests/serving/postgres/test_chaos.py``.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests import http_client
from tests.serving.conftest import Server
from tests.serving.postgres.stories import STORIES, Service, Story
from tests.waiting import wait_until
from tokenweir.serving.postgres.embedded import EmbeddedPostgres
from tokenweir.testing import Provider, Reply, ToolCall

LEASE = 5.0
FAULTS = int(os.environ.get("TOKENWEIR_TEST_FAULTS", "1"))
"""How often a server is killed, and another one stopped past its lease."""
SEED = int(os.environ.get("TOKENWEIR_TEST_SEED", "0"))

GRAPHS = ["chat", "agent", "joke_poem_parallel"]
GRAPHS += [f"sample:{name}" for name in ("two_steps", "nested", "fans", "answers")]


class Teller(threading.Thread):
    """Tells a story again and again, until it is told to stop."""

    def __init__(self, service: Service, story: Story, seed: int) -> None:
        super().__init__(name=story.__name__, daemon=True)
        self.told = 0
        self.stopping = threading.Event()
        self.error: BaseException | None = None
        self._service, self._story = service, story
        self._chance = random.Random(seed)

    def run(self) -> None:
        try:
            while not self.told or not self.stopping.is_set():
                self._story(self._service, self._chance)
                self.told += 1
        except BaseException as error:  # noqa: BLE001 - the test itself raises it
            self.error = error
            traceback.print_exception(error)


def script(provider: Provider) -> set[str]:
    """Have the model say something else each time; all that it may say."""
    said = set[str]()

    def answers(name: str) -> list[Reply]:
        made = [
            Reply(tokens=[f"<{name} {number}>", *(f" w{word}" for word in range(100))], every=0.01)
            for number in range(100 * FAULTS)
        ]
        said.update("".join(each.tokens) for each in made if isinstance(each.tokens, list))
        return made

    tool = ToolCall("calculate", '{"expression": "6*7"}')
    provider.on(lambda asked: asked.body["messages"][-1]["role"] == "tool", *answers("tool"))
    said.add("let me see")
    provider.on("sum", Reply("let me see", tool_calls=[tool]))
    for step in ("first", "second", "about", "after", "cats"):
        provider.on(step, *answers(step))
    return said


def taken_over(database_url: str, dead: int) -> bool:
    """Whether the leases of so many servers are over, and what they held is others'."""
    with psycopg.connect(database_url) as connection:
        sql = (
            "select count(distinct s.id), count(r.id) from tokenweir_servers s "
            "left join tokenweir_runs r on r.server = s.id and r.status = 'running' "
            "where s.lease_until < now()"
        )
        ((found, held),) = connection.execute(sql).fetchall()
    return bool(found >= dead and not held)


@contextmanager
def telling(database_url: str) -> Iterator[None]:
    """If a test fails, print which servers there are, which runs are not over, and what keeps
    Postgres busy."""
    try:
        yield
    except BaseException:
        with psycopg.connect(database_url, autocommit=True) as connection:
            for sql in (
                "select id, place, lease_until - now() from tokenweir_servers",
                "select id, thread, status, epoch, strategy, stopping, undone, server, updated_at "
                "from tokenweir_runs where status in ('pending', 'running') order by seq",
                "select pid, state, now() - state_change, wait_event_type, wait_event, "
                "pg_blocking_pids(pid), query from pg_stat_activity "
                "where xact_start is not null or wait_event_type = 'Lock'",
            ):
                print(*connection.execute(sql).fetchall(), "", sep="\n")
        raise


@pytest.mark.timeout(900)
def test_whatever_dies_the_text_is_exact(
    serve: Callable[..., Server], provider: Provider, postgres: EmbeddedPostgres, database_url: str
) -> None:
    """kill -9, servers that are stopped past their lease and go on, a restart of Postgres: readers
    of every protocol have exactly what the state has, wherever they read, and every run ends."""
    chance = random.Random(SEED)
    asked = [*GRAPHS, "--data", database_url, "--lease-seconds", str(LEASE), "--max-runs", "10"]
    service = Service([serve(*asked) for _ in range(3)], script(provider))
    tellers = [Teller(service, story, SEED + number) for number, story in enumerate(STORIES)]
    for teller in tellers:
        teller.start()

    def go_on() -> None:
        """Wait until readers have been cut off and have come back a few times."""
        enough = service.progress + 2 * len(tellers)
        wait_until(lambda: service.progress >= enough or any(each.error for each in tellers), 200)

    with telling(database_url):
        go_on()
        service.calm = False
        for number in range(FAULTS):
            place = chance.randrange(3)
            killed, service.servers[place] = service.servers[place], serve(*asked)
            killed.kill()
            go_on()
            place = chance.randrange(3)
            zombie, service.servers[place] = service.servers[place], serve(*asked)
            zombie.process.send_signal(signal.SIGSTOP)
            dead = 2 * (number + 1)
            wait_until(lambda dead=dead: taken_over(database_url, dead))  # type: ignore[misc]
            zombie.process.send_signal(signal.SIGCONT)
            go_on()
            zombie.kill()
        postgres.stop("immediate")
        postgres.start()
        go_on()
        for teller in tellers:
            teller.stopping.set()
        for teller in tellers:
            teller.join(200)
        assert {each.name: each.error for each in tellers if each.error or each.is_alive()} == {}
        print(Counter({each.name: each.told for each in tellers}))
    for server in service.servers:  # each finds Postgres again by itself
        url = f"{server.url}/ok"
        wait_until(lambda url=url: http_client.get(url).is_success)  # type: ignore[misc]
    with psycopg.connect(database_url) as connection:
        sql = "select count(*) from tokenweir_runs where status in ('pending', 'running')"
        wait_until(lambda: connection.execute(sql).fetchall() == [(0,)])
