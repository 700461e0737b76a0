"""Runs that wait for their time (``after_seconds``) stand in nobody's way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx

from tests import http_client
from tokenweir.testing import Provider, Reply

A, B = {"x-api-key": "a"}, {"x-api-key": "b"}


def body(graph: str, **more: Any) -> dict[str, Any]:
    return {"assistant_id": graph, "input": {"topic": "x"}, **more}


def test_delayed_runs_take_nobodys_place(serve: Callable[..., Any], http: httpx.Client) -> None:
    """However many one key parks, it and every other key run at once; beyond its limit it is told.
    They hold up no run of their thread, and can be cancelled."""
    server = serve("sample:writes", "--key", "a", "--key", "b", "--max-queue", "1")
    url = server.url
    thread = http.post(f"{url}/threads", json={}, headers=A).json()["thread_id"]
    later = f"{url}/threads/{thread}/runs"
    parked = [body("writes", after_seconds=3600, multitask_strategy="interrupt")] * 100
    batches = [http.post(f"{url}/runs/batch", json=parked, headers=A) for _ in range(10)]
    assert {answer.status_code for answer in batches} == {200}
    refused = http.post(later, json=parked[0], headers=A)
    assert refused.status_code == 429
    assert "1000 runs are waiting for their time" in refused.text
    cancelled = batches[0].json()[0]
    place = f"{url}/threads/{cancelled['thread_id']}/runs/{cancelled['run_id']}"
    assert http.post(f"{place}/cancel?wait=true", headers=A).status_code == 200
    assert http.get(place, headers=A).json()["status"] == "interrupted"
    delayed = http.post(later, json=parked[0], headers=A).json()
    assert http.get(f"{url}/threads/{thread}", headers=A).json()["status"] == "idle"
    for key in (A, B):
        values = http.post(f"{url}/runs/wait", json=body("writes"), headers=key).json()
        assert values["answer"] == "done"
    values = http.post(f"{later}/wait", json=body("writes"), headers=A).json()
    assert values["answer"] == "done"
    assert http.get(f"{later}/{delayed['run_id']}", headers=A).json()["status"] == "pending"


def test_a_delayed_run_keeps_its_time(serve: Callable[..., Any], http: httpx.Client) -> None:
    """After kill -9 and after SIGTERM, which does not wait for it, it is as far off as before; one
    that has become due meanwhile runs."""
    server = serve("sample:writes", "--drain-seconds", "60")
    runs = f"{server.url}/runs"
    later = http.post(runs, json=body("writes", after_seconds=3600)).json()
    soon = http.post(runs, json=body("writes", after_seconds=1)).json()
    server.kill()
    server = serve("sample:writes", "--drain-seconds", "60")
    with http_client.stream("GET", f"{server.url}/runs/{soon['run_id']}/events") as answer:
        assert '"status":"success"' in answer.read().decode()
    killer = threading.Timer(20, server.process.kill)
    killer.start()
    assert server.terminate() == 0
    killer.cancel()
    server = serve("sample:writes")
    place = f"{server.url}/threads/{later['thread_id']}/runs/{later['run_id']}"
    assert http.post(f"{server.url}/runs/wait", json=body("writes")).status_code == 200
    assert http.get(place).json()["status"] == "pending"


def test_the_strategy_counts_when_the_run_is_due(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider
) -> None:
    """A delayed run with ``interrupt`` lets its thread's run go on until its own time has come."""
    provider.on("x", Reply("never ends", hold_after=1), "second")
    server = serve("talk=sample:talk")
    thread = http.post(f"{server.url}/threads", json={}).json()["thread_id"]
    runs = f"{server.url}/threads/{thread}/runs"
    say = {"assistant_id": "talk", "input": {"messages": [{"role": "user", "content": "x"}]}}
    first = http.post(runs, json=say).json()
    provider.wait_for_requests(1)
    late = {**say, "after_seconds": 1, "multitask_strategy": "interrupt"}
    second = http.post(runs, json=late).json()
    assert http.get(f"{runs}/{first['run_id']}").json()["status"] == "running"
    values = http.get(f"{runs}/{second['run_id']}/join").json()
    assert values["messages"][-1]["content"] == "second"
    assert http.get(f"{runs}/{first['run_id']}").json()["status"] == "interrupted"


def test_cancelling_what_has_not_begun(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider
) -> None:
    """A thread that waits for an answer goes on waiting when a delayed run on it is cancelled."""
    provider.on("first", "one")
    server = serve("sample:asks")
    thread = http.post(f"{server.url}/threads", json={}).json()["thread_id"]
    place = f"{server.url}/threads/{thread}"
    http.post(f"{place}/runs/wait", json=body("asks"))
    before = http.get(place).json()
    assert before["status"] == "interrupted"
    run = http.post(f"{place}/runs", json=body("asks", after_seconds=60)).json()
    http.post(f"{place}/runs/{run['run_id']}/cancel?wait=true")
    after = http.get(place).json()
    assert (after["status"], after["interrupts"]) == ("interrupted", before["interrupts"])
