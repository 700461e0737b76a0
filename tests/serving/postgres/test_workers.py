"""``tokenweir serve --workers``: several processes at one port, on a Postgres of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests import fork_server, http_client
from tests.serving.conftest import Server
from tests.serving.running.test_resume import Reader, at_least, start
from tests.waiting import wait_until
from tokenweir.serving.postgres.embedded import programs
from tokenweir.testing import Provider, Reply

pytestmark = pytest.mark.skipif(programs() is None, reason="needs Postgres' programs")


def workers_of(server: Server) -> list[int]:
    pid = server.process.pid
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def read_on(reader: Reader, count: int | None = None) -> None:
    """Read so many events more, or to the end, through whatever cuts."""
    enough = None if count is None else len(reader.ids) + count

    def has_read() -> bool:
        try:
            if enough is None:
                return reader.read() and reader.over()
            return not reader.read(at_least(reader, enough))
        except (httpx.TransportError, AssertionError):
            return False  # nobody is there just now, or not Postgres

    wait_until(has_read)


def status(folder: Path, *words: str) -> str:
    """What ``tokenweir cluster status`` says of the workers that have a folder."""
    return fork_server.run(["cluster", "status", *words], folder).stdout


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")
def test_workers_are_one_service(
    serve: Callable[..., Server], provider: Provider, tmp_path: Path
) -> None:
    """Two processes answer at one URL. One is killed while it executes a run, and starts again: the
    text is exact. SIGTERM ends all, and their Postgres."""
    words = [f" w{number}" for number in range(100)]
    first, second = (Reply(tokens=[step, *words]) for step in ("first", "second"))
    provider.on("first", replace(first, hold_after=60), first)
    provider.on("second", second)
    server = serve("sample:two_steps", "--workers", "2", "--drain-seconds", "0")
    run = start(server.url, "two_steps")
    reader = Reader(server.url, run)
    read_on(reader, 50)
    before = workers_of(server)
    told = json.loads(status(tmp_path, "--json"))
    assert {each["place"].split()[-1] for each in told["servers"]} == {str(each) for each in before}
    assert [each["alive"] for each in told["servers"]] == [True, True]
    assert sum(each["runs"] for each in told["servers"]) == told["runs"]["running"] == 1
    assert "2 servers live\n1 runs run; the oldest was due " in status(tmp_path)
    metrics = http_client.get(f"{server.url}/metrics").text
    assert "\ntokenweir_service_servers 2.0\n" in metrics
    assert "\ntokenweir_service_runs_running 1.0\n" in metrics
    [busy] = (int(each["place"].split()[-1]) for each in told["servers"] if each["runs"])
    os.kill(busy, signal.SIGKILL)
    read_on(reader)
    text = "".join(words)
    assert reader.said() == [f"first{text}", f"second{text}"]
    number = before.index(busy) + 1
    server.wait_for(f"tokenweir: worker {number} ended (SIGKILL); restarting it")
    server.wait_for(f"tokenweir: worker {number} is back")
    assert len(workers_of(server)) == 2
    assert http_client.get(f"{server.url}/ok").json() == {"ok": True}
    assert server.terminate() == 0
    assert server.stderr().startswith("tokenweir: serving two_steps\n")
    assert not any(Path(f"/proc/{each}").exists() for each in before)
    assert not (tmp_path / ".tokenweir" / "postgres" / "data" / "postmaster.pid").exists()


def test_workers_end_with_their_parent() -> None:
    """A worker whose parent is gone, even if that was killed, ends as by SIGTERM."""
    code = "import time; from tokenweir.cli.workers import *; end_with_parent(); time.sleep(60)"
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(60) == -signal.SIGTERM


def test_a_worker_that_cannot_start(serve: Callable[..., Server]) -> None:
    """If the graph cannot be loaded the command says so, and ends with 1."""
    with pytest.raises(AssertionError, match="no_such_graph"):
        serve("sample:no_such_graph", "--workers", "2")
