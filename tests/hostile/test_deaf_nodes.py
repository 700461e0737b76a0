"""A node that swallows CancelledError holds up nobody: its run ends without it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import http_client
from tests.waiting import wait_until

GRAPHS = Path(__file__).parent / "deaf_graphs.py"


def start(http: httpx.Client, url: str, graph: str, file: Path, **more: Any) -> dict[str, Any]:
    """A run on a new thread, whose node has begun."""
    thread = http.post(f"{url}/threads", json={}).json()["thread_id"]
    body = {"assistant_id": graph, "input": {"file": str(file)}, "stream_mode": "custom", **more}
    run: dict[str, Any] = http.post(f"{url}/threads/{thread}/runs", json=body).json()
    with http_client.stream("GET", f"{url}/runs/{run['run_id']}/events") as answer:
        assert any("begun" in line for line in answer.iter_lines())
    return run


def place(url: str, run: dict[str, Any]) -> str:
    return f"{url}/threads/{run['thread_id']}/runs/{run['run_id']}"


@pytest.mark.parametrize(("durability", "home"), [("sync", ()), ("exit", ("--memory",))])
def test_a_deaf_node_is_left_behind(
    serve: Callable[..., Any],
    http: httpx.Client,
    tmp_path: Path,
    durability: str,
    home: tuple[str, ...],
) -> None:
    """Cancelling and deleting its thread end its run, its slot is free, the log names the node, and
    what the node gives afterwards is nowhere."""
    file = tmp_path / "go"
    server = serve(f"{GRAPHS}:deaf", f"{GRAPHS}:fast", "--max-runs", "2", *home)
    url = server.url
    cancelled = start(http, url, "deaf", file, durability=durability)
    deleted = start(http, url, "deaf", file, durability=durability)
    with ThreadPoolExecutor() as threads:
        asked = [
            threads.submit(http.post, f"{place(url, cancelled)}/cancel?wait=true"),
            threads.submit(http.delete, f"{url}/threads/{deleted['thread_id']}"),
        ]
        assert [each.result(60).status_code for each in asked] == [200, 204]
    assert http.get(place(url, cancelled)).json()["status"] == "interrupted"
    assert http.get(f"{url}/threads/{deleted['thread_id']}").status_code == 404
    thread = f"{url}/threads/{cancelled['thread_id']}"
    seen = http.get(f"{url}/runs/{cancelled['run_id']}/events").text
    before = http.get(f"{thread}/state").json()
    body = {"assistant_id": "fast", "input": {}}
    for _ in range(2):  # as many as there are slots
        assert http.post(f"{url}/runs/wait", json=body).json() == {"after": "done"}
    file.touch()  # the nodes go on
    wait_until(lambda: file.read_text() == "xx")
    assert http.post(f"{url}/runs/wait", json=body).json() == {"after": "done"}
    assert http.get(f"{url}/runs/{cancelled['run_id']}/events").text == seen
    assert http.get(f"{thread}/state").json() == before
    assert http.get(place(url, cancelled)).json()["status"] == "interrupted"
    assert http.get(f"{url}/threads/{deleted['thread_id']}").status_code == 404
    assert server.terminate() == 0
    said = server.stderr()
    assert said.count("did not end within") == 2
    assert durability == "exit" or said.count("'swallows'") == 2
    assert "Traceback" not in said
    assert "destroyed" not in said


def test_a_deaf_node_has_its_time(
    serve: Callable[..., Any], http: httpx.Client, tmp_path: Path
) -> None:
    """``--run-seconds`` ends a run one of whose parallel nodes does not listen."""
    server = serve(f"{GRAPHS}:deaf_beside", "--run-seconds", "2")
    run = start(http, server.url, "deaf_beside", tmp_path / "go")
    assert http.get(f"{place(server.url, run)}/join").json()["__error__"]["error"] == "TimeoutError"
    assert http.get(place(server.url, run)).json()["status"] == "timeout"


def test_the_server_ends_without_a_deaf_node(
    serve: Callable[..., Any], http: httpx.Client, tmp_path: Path
) -> None:
    """SIGTERM waits for the drain and the grace; the run goes on at the next start."""
    file = tmp_path / "go"
    server = serve(f"{GRAPHS}:deaf", "--drain-seconds", "0.1")
    run = start(http, server.url, "deaf", file)
    assert server.terminate() == 0
    assert "'swallows'" in server.stderr()
    assert "destroyed" not in server.stderr()
    file.touch()
    server = serve(f"{GRAPHS}:deaf")
    values = http.get(f"{place(server.url, run)}/join").json()
    assert values == {"file": str(file), "said": "too late", "after": "too late"}
