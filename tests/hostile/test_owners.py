"""An attack with one API key on everything that was made with another, by every operation."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from tests.described import describe
from tokenweir.testing import Provider, Reply

SECRET = "ann-says-this"
ANN, BOB = {"x-api-key": "ann"}, {"x-api-key": "bob"}
RUN: dict[str, Any] = {"assistant_id": "talk", "input": {"messages": SECRET}}


def requests(ids: dict[str, str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation with these ids in its path and in its body, wherever they can stand."""
    thread, run, assistant = ids["thread_id"], ids["run_id"], ids["assistant_id"]
    bodies: list[dict[str, Any]] = [
        {},
        {
            "assistant_id": "talk",
            "graph_id": "talk",
            "model": "talk",
            "input": {"messages": "bob"},
            "messages": [{"role": "user", "content": "bob"}],
            "values": {"messages": "bob"},
            "metadata": {"of": "bob"},
            "thread_id": thread,
            "thread_ids": [thread],
            "run_ids": [run],
            "ids": [thread],
            "checkpoint": {"thread_id": thread, "checkpoint_ns": ""},
            "config": {"configurable": {"thread_id": thread}},
            "if_not_exists": "create",
            "if_exists": "do_nothing",
        },
        {"assistant_id": assistant, "graph_id": "talk", "input": {"messages": "bob"}},
        {"input": {"messages": "bob"}, "thread_id": thread},
        {"thread_id": thread, "status": "all"},
        {"limit": 1000},
    ]
    for path, found in describe(keys=True)["paths"].items():
        place = re.sub(r"{(\w+)}", lambda name: ids.get(name[1], "talk"), path)
        for method in found:
            if method in ("post", "patch"):
                for body in bodies:
                    several = [body] if path == "/runs/batch" else body
                    yield method, place, {"json": several}
            else:
                yield method, place, {}
            if path.endswith("/events"):
                yield method, f"{place}?messages=bob&thread_id={thread}", {}
                yield method, place, {"headers": {"last-event-id": f"{run}:0"}}


def seen_by(http: httpx.Client, ids: dict[str, str], live: str) -> dict[str, Any]:
    """All that a key's own client finds of its things."""
    thread = f"/threads/{ids['thread_id']}"
    paths = [thread, f"{thread}/state", f"{thread}/history", f"{thread}/runs"]
    paths += [f"/assistants/{ids['assistant_id']}", live]
    found = {path: http.get(path, headers=ANN).json() for path in paths}
    for what in ("threads", "assistants"):
        found[what] = http.post(f"/{what}/search", json={"limit": 1000}, headers=ANN).json()
    return found


def test_nothing_of_another_key_is_seen_or_changed(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider
) -> None:
    """Bob has every id of ann's, also of runs without a thread's record, and gets nowhere."""
    server = serve("talk=sample:talk", TOKENWEIR_API_KEYS="ann,bob")
    http.base_url = httpx.URL(server.url)
    made = {"graph_id": "talk", "metadata": {"of": SECRET}}
    assistant = http.post("/assistants", json=made, headers=ANN).json()["assistant_id"]
    thread = http.post("/threads", json=made, headers=ANN).json()["thread_id"]
    http.post(f"/threads/{thread}/runs/wait", json=RUN, headers=ANN)
    [run] = http.get(f"/threads/{thread}/runs", headers=ANN).json()
    state = http.get(f"/threads/{thread}/state", headers=ANN).json()
    over = http.post("/runs", json=RUN, headers=ANN).json()  # without a thread's record
    http.get(f"/threads/{over['thread_id']}/runs/{over['run_id']}/join", headers=ANN)
    provider.on("held", Reply("a b c", hold_after=1))
    held = {**RUN, "input": {"messages": f"held {SECRET}"}}
    live = http.post("/runs", json=held, headers=ANN).json()
    provider.wait_for_requests(3)
    own = {
        "thread_id": thread,
        "run_id": run["run_id"],
        "id": run["run_id"],
        "assistant_id": assistant,
        "checkpoint_id": state["checkpoint_id"],
    }
    place = f"/threads/{live['thread_id']}/runs/{live['run_id']}"
    before = seen_by(http, own, place)
    tried = 0
    for each in (own, over, live):
        ids = own | {"thread_id": each["thread_id"], "run_id": each["run_id"], "id": each["run_id"]}
        for method, path, more in itertools.chain(
            [("post", "/threads", {"json": {"thread_id": each["thread_id"]}})], requests(ids)
        ):
            headers = BOB | more.pop("headers", {})
            answer = http.request(method.upper(), path, headers=headers, **more)
            tried += 1
            told = (method, path, more, answer.status_code, answer.text)
            assert SECRET not in answer.text, told
            assert answer.status_code < 500, told
            if re.search(f"/({each['thread_id']}|{each['run_id']})(?!.*/stream$)", path):
                assert answer.status_code in (404, 422), told
    assert tried > 500
    assert seen_by(http, own, place) == before
    assert provider.requests[2].state == "running"
    provider.release()
    done = http.get(f"{place}/join", headers=ANN).json()
    assert [each["content"] for each in done["messages"]] == [f"held {SECRET}", "a b c"]
