"""Runs that were cut off while one of their tasks waited at an interrupt, or inside a subgraph."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests import http_client
from tests.waiting import wait_until
from tokenweir.testing import Provider, Reply


def start(url: str, graph: str, **more: Any) -> dict[str, Any]:
    thread = http_client.post(f"{url}/threads", json={}).json()["thread_id"]
    body = {"assistant_id": graph, "stream_mode": "messages-tuple", "input": {"topic": "x"}}
    answer = http_client.post(f"{url}/threads/{thread}/runs", json={**body, **more})
    assert answer.status_code == 200, answer.text
    run: dict[str, Any] = answer.json()
    return run


def state(url: str, run: dict[str, Any]) -> Any:
    return http_client.get(f"{url}/threads/{run['thread_id']}/state?subgraphs=true").json()


def told(url: str, run: dict[str, Any]) -> list[dict[str, Any]]:
    """All records of a run, to its end."""
    text = http_client.get(f"{url}/runs/{run['run_id']}/events").text
    return [json.loads(data) for data in re.findall("^data: (.*)$", text, re.MULTILINE)]


def said(records: list[dict[str, Any]]) -> list[str]:
    """What a reader has who adds messages up by id, and leaves out those that are removed."""
    texts: dict[str, str] = {}
    for record in records:
        if record["type"] == "token":
            texts[record["id"]] = texts.get(record["id"], "") + record["text"]
        elif record["type"] == "remove":
            texts.pop(record["id"], None)
    return sorted(texts.values())


@pytest.mark.parametrize("graph", ["waits_beside", "waits_inside"])
def test_a_task_that_waited_when_its_sibling_was_killed(
    serve: Callable[..., Any], provider: Provider, graph: str
) -> None:
    """It runs again with the other, up to its question, and what it said before counts once."""
    provider.on("first", "the first")
    provider.on("asking", "who are you")
    provider.on("second", Reply("lost words", stall_after=1), "the second")
    server = serve(f"sample:{graph}")
    run = start(server.url, graph, stream_subgraphs=True)
    wait_until(lambda: any(task["interrupts"] for task in state(server.url, run)["tasks"]))
    server.kill()
    asked = len(provider.requests)
    server = serve(f"sample:{graph}")
    records = told(server.url, run)
    assert records[-1]["status"] == "interrupted"
    expected = ["the first"] * (graph == "waits_inside") + ["the second", "who are you"]
    assert said(records) == expected
    again = [request.prompt for request in provider.requests[asked:]]
    assert sorted(again) == ["asking x", "second x"]
    answer = {"input": None, "command": {"resume": "Al"}, "assistant_id": graph}
    thread = f"{server.url}/threads/{run['thread_id']}"
    values = http_client.post(f"{thread}/runs/wait", json=answer).json()
    assert (values["answer"], values["second"]) == ("Al", "the second")


@pytest.mark.parametrize("graph", ["two_steps", "nested"])
def test_without_checkpoints_a_stopped_run_goes_on(
    serve: Callable[..., Any], provider: Provider, graph: str
) -> None:
    """With durability exit, what a run had done when the server was told to stop is not redone."""
    provider.on("first", "the first")
    provider.on("second", Reply("cut off", hold_after=1), "the second")
    server = serve(f"sample:{graph}", "--drain-seconds", "0.1")
    run = start(server.url, graph, durability="exit", stream_subgraphs=True)
    provider.wait_for_requests(2)
    assert server.terminate() == 0
    server = serve(f"sample:{graph}")
    records = told(server.url, run)
    assert records[-1]["status"] == "success"
    assert said(records) == ["the first", "the second"]
    assert [request.prompt for request in provider.requests] == ["first x"] + ["second x"] * 2
    tokens = [record["text"] for record in records if record["type"] == "token"]
    assert "".join(tokens).count("the first") == 1
    assert state(server.url, run)["values"]["second"] == "the second"
