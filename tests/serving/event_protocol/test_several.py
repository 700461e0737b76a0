"""The event protocol with several owners, and with several servers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import httpx

from tests.serving.event_protocol.test_cuts import Watcher, command
from tests.serving.postgres.conftest import database_url, postgres
from tokenweir.testing import Provider, Reply

__all__ = ["database_url", "postgres"]

TWO_STEPS = ("sample:two_steps", "--lease-seconds", "2", "--data")


def test_threads_are_their_owners(
    serve: Callable[..., Any], provider: Provider, http: httpx.Client
) -> None:
    """With API keys, another one's thread is not there: no events, no commands."""
    provider.on("x", "hello")
    server = serve("talk=sample:talk", "--memory", TOKENWEIR_API_KEYS="ann,bob")
    ann, bob = {"x-api-key": "ann"}, {"x-api-key": "bob"}
    place = f"{server.url}/threads/{uuid4()}"
    given = {"assistant_id": "talk", "input": {"messages": [{"role": "user", "content": "x"}]}}
    start = {"id": 1, "method": "run.start", "params": given}
    asked = {"channels": ["lifecycle"]}
    assert http.post(f"{place}/commands", json=start).status_code == 401
    assert http.post(f"{place}/commands", json=start, headers=ann).json()["type"] == "success"
    for method in ("run.start", "state.get", "state.fork", "agent.getTree"):
        params = {**given, "checkpoint_id": "x"}
        body = {"id": 2, "method": method, "params": params}
        answer = http.post(f"{place}/commands", json=body, headers=bob).json()
        assert (answer["type"], answer["error"]) == ("error", "no_such_run")
    events = f"{place}/stream/events"
    assert http.post(events, json=asked, headers=bob).status_code == 404
    assert http.get(f"{place}/stream", headers=bob).status_code == 404
    with http.stream("POST", events, json=asked, headers=ann) as answer:
        assert answer.status_code == 200


def held_in_the_middle(
    serve_one: Callable[[], Any], provider: Provider, thread_id: str
) -> tuple[Any, Any]:
    """The server that executes a run, which stands in its second node, and another one."""
    provider.on("first", "the first")
    provider.on("second", Reply("cut off here", hold_after=2), "the second")
    here = serve_one()
    command(here.url, thread_id, "two_steps", topic="x")
    provider.wait_for_requests(2)
    return here, serve_one()  # the other one only now, as any server may claim a run


def test_whichever_server(serve: Callable[..., Any], provider: Provider, database_url: str) -> None:
    """Started here, read there, taken over when the first server is killed; numbers go on."""
    serve_one, thread_id = partial(serve, *TWO_STEPS, database_url), str(uuid4())
    here, there = held_in_the_middle(serve_one, provider, thread_id)
    watcher = Watcher(there.url, thread_id)
    watcher.read(lambda: "cut off" in watcher.said())
    here.kill()
    watcher.read(lambda: watcher.ends == 1)
    assert watcher.said() == ["the first", "the second"]
    assert watcher.retracted == 1
    assert watcher.values["second"] == "the second"
    here = serve_one()
    command(there.url, thread_id, "two_steps", topic="x")
    watcher.url = here.url
    watcher.read(lambda: watcher.ends == 2)
    assert watcher.said() == ["the first", "the second"] * 2
    assert watcher.numbers == sorted(set(watcher.numbers))
    whole = Watcher(here.url, thread_id, since=0)
    whole.read(lambda: whole.ends == 2)
    assert whole.numbers == watcher.numbers
