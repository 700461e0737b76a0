"""A run that starts from a checkpoint of its thread: if there is none, no client takes this for it.

LangGraph itself starts from an empty state then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.serving.postgres.conftest import database_url, postgres
from tokenweir.testing import Provider, Reply

__all__ = ["database_url", "postgres"]

HOMES = ["memory", "folder", "postgres"]


@pytest.fixture
def started(
    serve: Callable[..., Any],
    provider: Provider,
    http: httpx.Client,
    request: pytest.FixtureRequest,
    where: str,
) -> httpx.Client:
    """A client of a server with one of the homes."""
    words = {"memory": ["--memory"], "folder": []}.get(where)
    if words is None:
        words = ["--data", request.getfixturevalue("database_url")]
    provider.on("second stuck", Reply("lost words", stall_after=1))
    provider.on("first", "the first")
    provider.on("second", "the second")
    http.base_url = httpx.URL(serve("sample:two_steps", "sample:nested", *words).url)
    return http


def a_thread(http: httpx.Client) -> tuple[str, list[dict[str, Any]]]:
    """A thread on which a run has ended, and its states."""
    thread = str(uuid4())
    body = {"assistant_id": "two_steps", "input": {"topic": "x"}, "if_not_exists": "create"}
    assert http.post(f"/threads/{thread}/runs/wait", json=body).status_code == 200
    return thread, http.post(f"/threads/{thread}/history", json={}).json()


@pytest.mark.parametrize("where", HOMES)
def test_an_unknown_one_is_refused(started: httpx.Client, provider: Provider) -> None:
    """No run starts from a checkpoint that its thread lacks, whichever way it is named, and no
    update of the state does."""
    http = started
    thread, states = a_thread(http)
    _, others = a_thread(http)
    asked = len(provider.requests)
    for unknown in (str(uuid4()), others[0]["checkpoint_id"], "x", "\0", "' or 1=1 --"):
        by_config = {"config": {"configurable": {"checkpoint_id": unknown}}}
        by_place = {"checkpoint": {"checkpoint_id": unknown}}
        for named in ({"checkpoint_id": unknown}, by_place, by_config):
            body = {"assistant_id": "two_steps", **named}
            for how in ("", "/wait", "/stream"):
                answer = http.post(f"/threads/{thread}/runs{how}", json=body)
                assert (answer.status_code, answer.json()["detail"]) == (
                    422,
                    f"the thread has no checkpoint {unknown!r}",
                )
                answer = http.post(f"/runs{how}", json=body)
                assert answer.status_code == 422
                assert answer.json()["detail"].startswith("checkpoint_id needs a thread")
            if named is by_config:
                continue
            change = {"values": {"topic": "y"}, "as_node": "first_step", **named}
            answer = http.post(f"/threads/{thread}/state", json=change)
            assert answer.json()["detail"] == f"the thread has no checkpoint {unknown!r}"
        body = {"assistant_id": "two_steps", "checkpoint_id": unknown, "if_not_exists": "create"}
        assert http.post(f"/threads/{uuid4()}/runs", json=body).status_code == 404
        for number, (method, config) in enumerate(
            [("run.start", {"configurable": {"checkpoint_id": unknown}}), ("state.fork", {})]
        ):
            params = {"assistant_id": "two_steps", "config": config, "checkpoint_id": unknown}
            command = {"id": number, "method": method, "params": params}
            told = http.post(f"/threads/{thread}/commands", json=command).json()
            assert (told["type"], told["error"]) == ("error", "no_such_checkpoint")
    assert len(provider.requests) == asked
    assert len(http.get(f"/threads/{thread}/runs").json()) == 1
    assert http.post(f"/threads/{thread}/history", json={}).json() == states
    middle = next(state for state in states if state["next"] == ["second_step"])
    known = {"checkpoint_id": middle["checkpoint_id"]}
    for named in (known, {"config": {"configurable": known}}):
        body = {"assistant_id": "two_steps", **named}
        assert http.post(f"/threads/{thread}/runs/wait", json=body).json()["second"] == "the second"
    assert len(provider.requests) == asked + 2


@pytest.mark.parametrize("where", HOMES)
def test_one_that_goes_before_the_run_begins(started: httpx.Client, provider: Provider) -> None:
    """A run that undoes the one whose checkpoint it starts from fails, and says why."""
    http = started
    thread, states = a_thread(http)
    body: dict[str, Any] = {"assistant_id": "two_steps", "input": {"topic": "stuck"}}
    http.post(f"/threads/{thread}/runs", json=body)
    provider.wait_for_requests(4)
    newest = http.get(f"/threads/{thread}/state").json()["checkpoint_id"]
    body = {"assistant_id": "two_steps", "checkpoint_id": newest, "multitask_strategy": "rollback"}
    ended = http.post(f"/threads/{thread}/runs/wait", json=body).json()
    assert ended == {
        "__error__": {
            "error": "CheckpointMissingError",
            "message": f"the thread has no checkpoint {newest!r}",
        }
    }
    assert http.post(f"/threads/{thread}/history", json={}).json() == states


@pytest.mark.parametrize("where", ["memory"])
def test_one_that_is_no_text(started: httpx.Client) -> None:
    """In a config, anything but text is refused."""
    thread, _ = a_thread(started)
    wrong: list[Any] = [5, ["x"], {"a": 1}, True]
    for each in wrong:
        params = {"assistant_id": "two_steps", "config": {"configurable": {"checkpoint_id": each}}}
        refused = started.post(f"/threads/{thread}/runs", json=params)
        assert (refused.status_code, "checkpoint_id" in refused.text) == (422, True), refused.text
        command = {"id": 1, "method": "run.start", "params": params}
        told = started.post(f"/threads/{thread}/commands", json=command)
        assert (told.status_code, told.json().get("error")) == (200, "invalid_argument"), told.text
        assert "checkpoint_id" in told.json()["message"]
