"""Runs that are deleted while somebody waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests import http_client
from tokenweir.testing import Provider, Reply

BODY: dict[str, Any] = {"assistant_id": "talk", "input": {"messages": "held"}}


@pytest.mark.parametrize("more", [(), ("--memory",)], ids=["disk", "memory"])
def test_who_waits_is_answered(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider, more: tuple[str, ...]
) -> None:
    """However a run is deleted, all its readers come to an end, and none has a connection cut."""
    provider.on("held", Reply("a b c", hold_after=1))
    server = serve("talk=sample:talk", *more)
    http.base_url = httpx.URL(server.url)

    def ends(path: str, after: threading.Barrier) -> str:
        with http_client.stream("GET", f"{server.url}{path}") as answer:
            after.wait()
            return answer.read().decode()

    for number, (method, delete) in enumerate(
        [
            ("DELETE", "/threads/{thread}"),
            ("POST", "/threads/{thread}/runs/{run}/cancel?action=rollback&wait=true"),
            ("POST", "/runs/cancel?action=rollback&status=all"),
        ],
        start=1,
    ):
        thread = http.post("/threads", json={}).json()["thread_id"]
        run = http.post(f"/threads/{thread}/runs", json=BODY).json()["run_id"]
        provider.wait_for_requests(number)
        place = f"/threads/{thread}/runs/{run}"
        paths = [f"{place}/join", f"{place}/stream", f"/runs/{run}/events"]
        followed = threading.Barrier(len(paths) + 1)
        with ThreadPoolExecutor() as readers:
            reading = [readers.submit(ends, path, followed) for path in paths]
            followed.wait(60)
            answer = http.request(
                method,
                delete.format(thread=thread, run=run),
                json={"status": "all"} if method == "POST" else None,
            )
            assert answer.status_code in (200, 204)
            values, _, events = [each.result(30) for each in reading]
        assert not values.strip() or "__error__" not in values
        assert '"status":"interrupted"' in events
        assert http.get(place).status_code == 404
    server.terminate()
    assert "Traceback" not in server.stderr()
