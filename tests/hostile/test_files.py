"""What befalls the files of a data folder: a full disk, locks, damage, removal."""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import http_client
from tests.waiting import wait_until
from tokenweir.testing import Provider, Reply

BODY = {"assistant_id": "writes", "input": {}}


def test_a_full_disk_is_told(serve: Callable[..., Any], http: httpx.Client) -> None:
    """While nothing can be written, starting a run and making a thread are 503, and so is ``/ok``;
    what was refused has left nothing. When there is room again, all goes on by itself."""
    server = serve("sample:writes")
    url, pid = server.url, server.process.pid
    thread = http.post(f"{url}/threads", json={}).json()["thread_id"]
    runs = f"{url}/threads/{thread}/runs"
    free = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, free[1]))  # every write to a file fails
    for path, body in ((runs, BODY), (f"{url}/threads", {}), (f"{runs}/wait", BODY)):
        answer = http.post(path, json=body)
        assert answer.status_code == 503
        assert "cannot use its storage" in answer.text
    assert http.delete(f"{url}/threads/{thread}").status_code == 503
    assert http.get(f"{url}/ok").status_code == 503
    assert http.get(f"{url}/threads/{thread}").status_code == 200
    resource.prlimit(pid, resource.RLIMIT_FSIZE, free)
    wait_until(lambda: http.get(f"{url}/ok").status_code != 503)
    assert http.post(f"{runs}/wait", json=BODY).json() == {"answer": "done"}
    assert len(http.get(runs).json()) == 1
    assert len(http.post(f"{url}/threads/search", json={}).json()) == 1


def test_checkpoints_locked_by_another_process(
    serve: Callable[..., Any], http: httpx.Client, tmp_path: Path
) -> None:
    """A run waits for who holds ``checkpoints.sqlite``, longer than SQLite's five seconds."""
    server = serve("sample:writes")
    path = tmp_path / ".tokenweir" / "checkpoints.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(6, other.execute, ["COMMIT"]).start()
    assert http.post(f"{server.url}/runs/wait", json=BODY).json() == {"answer": "done"}
    other.close()


@pytest.mark.parametrize("name", ["events.sqlite", "checkpoints.sqlite"])
def test_what_happens_to_an_open_file_is_told(
    serve: Callable[..., Any], http: httpx.Client, tmp_path: Path, name: str
) -> None:
    """A file that is cut short, or removed with its folder, turns ``/ok`` to 503, and the log says
    which and what to do; no run starts that would be lost. A damaged one is named at the start."""
    folder = tmp_path / ".tokenweir"
    server = serve("sample:writes")
    http.post(f"{server.url}/runs/wait", json=BODY)
    server.terminate()
    server = serve("sample:writes")
    size = (folder / name).stat().st_size
    with (folder / name).open("r+b") as file:
        file.truncate(size // 2)
    assert http.get(f"{server.url}/ok").status_code == 503
    assert http.post(f"{server.url}/runs", json=BODY).status_code == 503
    server.kill()
    assert f"{name} was truncated" in server.stderr()
    shutil.rmtree(folder)
    server = serve("sample:writes")
    assert http.get(f"{server.url}/ok").status_code == 200
    shutil.rmtree(folder)
    assert http.get(f"{server.url}/ok").status_code == 503
    server.kill()
    assert f"{name} cannot be found" in server.stderr() or name != "events.sqlite"
    folder.mkdir()
    (folder / name).write_bytes(b"no database" * 1000)
    with pytest.raises(AssertionError, match=f"cannot read .*{name}"):
        serve("sample:writes")


def test_a_reader_has_no_event_that_a_kill_takes_from_the_record(
    serve: Callable[..., Any], provider: Provider
) -> None:
    """With durability exit, what a step gave is in the record before a reader is told."""
    provider.on("first", "the first")
    provider.on("second", Reply("the second", first_after=1))
    server = serve("sample:two_steps")
    body = {"assistant_id": "two_steps", "input": {"topic": "x"}, "stream_mode": "updates"}
    run = http_client.post(f"{server.url}/runs", json={**body, "durability": "exit"}).json()
    place = f"{run['thread_id']}/runs/{run['run_id']}/stream"
    seen = None
    with http_client.stream(
        "GET", f"{server.url}/threads/{place}", headers={"last-event-id": "-1"}
    ) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:") and "first_step" in line:
                seen = json.loads(line[5:])
                server.kill()
                break
    server = serve("sample:two_steps")
    url = f"{server.url}/threads/{place}"
    text = http_client.get(url, headers={"last-event-id": "-1"}).text
    found = [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data: {")]
    assert found.count(seen) == 2  # of both attempts


def test_space_is_given_back(serve: Callable[..., Any], http: httpx.Client, tmp_path: Path) -> None:
    """Beyond ``--keep-mb`` the oldest go, with the checkpoints of their threads, and the files
    become as small as what is kept; so do the write-ahead logs."""
    folder = tmp_path / ".tokenweir"
    server = serve("sample:writes")
    topic = "x" * 1_000_000
    body = {**BODY, "input": {"topic": topic}, "stream_mode": "values"}
    made = [http.post(f"{server.url}/threads", json={}).json()["thread_id"] for _ in range(10)]
    for thread in made:
        http.post(f"{server.url}/threads/{thread}/runs/wait", json=body)
    assert server.terminate() == 0
    assert sum(path.stat().st_size for path in folder.iterdir()) > 40 << 20
    server = serve("sample:writes", "--keep-mb", "8")
    wait_until(lambda: sum(path.stat().st_size for path in folder.iterdir()) <= 20 << 20)
    newest = http.get(f"{server.url}/threads/{made[-1]}/state").json()
    assert newest["values"] == {"topic": topic, "answer": "done"}
    assert http.get(f"{server.url}/ok").status_code == 200
