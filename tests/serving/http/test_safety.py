"""Keys, origins, limits: what a server refuses, whom it drops, and what it tells."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any, TypedDict

import httpx
from langgraph.graph import START, StateGraph

from tokenweir.serving.problems import Limits
from tokenweir.serving.running.checkpoints import MemoryCheckpoints
from tokenweir.serving.running.encoding import scrubbed
from tokenweir.serving.running.home import in_memory
from tokenweir.serving.running.records import RunRequest
from tokenweir.serving.running.retention import sweep
from tokenweir.serving.running.runs import Runs
from tokenweir.testing import Provider, Reply


class State(TypedDict):
    """One value."""

    answer: str


def body(graph: str = "writes", **more: Any) -> dict[str, Any]:
    return {"assistant_id": graph, "input": {"topic": "x"}, **more}


def test_keys(serve: Callable[..., Any], http: httpx.Client) -> None:
    """Without one of the keys there is nothing but /ok; both ways to send one work."""
    server = serve("sample:writes", "--memory", TOKENWEIR_API_KEYS="ann-key,bob-key")
    assert http.get(f"{server.url}/ok").status_code == 200
    for headers in ({}, {"x-api-key": "ann-ke"}, {"authorization": "Bearer ann-key2"}):
        for path in ("/info", "/metrics", "/threads/x", "/nothing"):
            answer = http.get(f"{server.url}{path}", headers=headers)
            assert answer.status_code == 401
            assert "API key" in answer.json()["detail"]
    for headers in ({"x-api-key": "ann-key"}, {"authorization": "Bearer bob-key"}):
        answer = http.post(f"{server.url}/runs/wait", json=body(), headers=headers)
        assert answer.json()["answer"] == "done"


def test_owners_are_apart(serve: Callable[..., Any], http: httpx.Client) -> None:
    """Threads and runs made with one key are not there for another, by any route."""
    server = serve("sample:writes", "--memory", TOKENWEIR_API_KEYS="ann-key,bob-key")
    ann, bob = {"x-api-key": "ann-key"}, {"x-api-key": "bob-key"}
    thread = http.post(f"{server.url}/threads", json={}, headers=ann).json()["thread_id"]
    place = f"{server.url}/threads/{thread}"
    run = http.post(f"{place}/runs", json=body(), headers=ann).json()["run_id"]
    assert http.get(f"{place}/runs/{run}/join", headers=ann).json()["answer"] == "done"
    for method, path in [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/state"),
        ("POST", "/state"),
        ("POST", "/state/checkpoint"),
        ("POST", "/history"),
        ("GET", "/runs"),
        ("POST", "/runs"),
        ("POST", "/runs/wait"),
        ("POST", "/runs/stream"),
        ("GET", f"/runs/{run}"),
        ("DELETE", f"/runs/{run}"),
        ("GET", f"/runs/{run}/join"),
        ("POST", f"/runs/{run}/cancel"),
    ]:
        sent = body(if_not_exists="create") if path.startswith("/runs") else {"values": {}}
        given: dict[str, Any] = {"json": sent} if method in ("POST", "PATCH") else {}
        answer = http.request(method, f"{place}{path}", headers=bob, **given)
        assert answer.status_code == 404, (method, path)
    stream = http.get(f"{place}/runs/{run}/stream", headers={**bob, "last-event-id": "-1"})
    assert "404" in stream.text
    assert "values" not in stream.text
    assert http.post(f"{server.url}/threads/search", json={}, headers=bob).json() == []
    again = http.post(f"{server.url}/threads", json={"thread_id": thread}, headers=bob)
    assert again.status_code == 409
    assert http.get(place, headers=ann).json()["values"]["answer"] == "done"


def test_origins(serve: Callable[..., Any], http: httpx.Client) -> None:
    """Only listed origins' pages may call: others get no CORS headers, and no run."""
    server = serve("sample:writes", "--memory", "--cors", "https://app.example")
    listed, other = {"origin": "https://app.example"}, {"origin": "https://evil.example"}
    asked = {"access-control-request-method": "POST"}
    answer = http.options(f"{server.url}/runs/wait", headers={**listed, **asked})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    answer = http.post(f"{server.url}/runs/wait", json=body(), headers=listed)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "Location" in answer.headers["access-control-expose-headers"]
    assert http.options(f"{server.url}/ok", headers={**other, **asked}).status_code == 400
    for headers in (other, {"host": "evil.example"}):
        answer = http.post(f"{server.url}/runs/wait", json=body(), headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    own = {"origin": server.url}
    assert http.post(f"{server.url}/runs/wait", json=body(), headers=own).status_code == 200


def test_bodies_have_a_limit(serve: Callable[..., Any], http: httpx.Client) -> None:
    """A body that is too large is refused, whether its length is told or not, and too deep too."""
    server = serve("sample:writes", "--memory", "--max-body", "10000")
    big = json.dumps(body(metadata={"x": "y" * 10_000})).encode()
    assert http.post(f"{server.url}/runs/wait", content=big).status_code == 413
    chunks = (big[at : at + 1000] for at in range(0, len(big), 1000))
    assert http.post(f"{server.url}/runs/wait", content=chunks).status_code == 413
    deep = b'{"assistant_id": "writes", "input": ' + b"[" * 4000 + b"]" * 4000 + b"}"
    assert http.post(f"{server.url}/runs/wait", content=deep).status_code == 422
    assert http.post(f"{server.url}/runs/wait", json=body()).status_code == 200


def test_runs_have_limits(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider
) -> None:
    """One run at a time, one that waits, a third is refused; what runs too long is stopped."""
    provider.on("first", Reply("a b", stall_after=1))
    limits = ["--max-runs", "1", "--max-queue", "1", "--run-seconds", "2"]
    server = serve("sample:two_steps", "sample:writes", "--memory", *limits)
    thread = http.post(f"{server.url}/threads", json={}).json()["thread_id"]
    place = f"{server.url}/threads/{thread}/runs"
    stuck = http.post(place, json=body("two_steps")).json()["run_id"]
    provider.wait_for_requests(1)
    waiting = http.post(place, json=body("writes")).json()["run_id"]
    refused = http.post(place, json=body("writes"))
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    error = http.get(f"{place}/{stuck}/join").json()["__error__"]
    assert error["message"] == "the run took over 2 s"
    assert http.get(f"{place}/{stuck}").json()["status"] == "timeout"
    assert http.get(f"{place}/{waiting}/join").json()["answer"] == "done"
    provider.requests[0].wait_closed(60)
    assert provider.requests[0].state == "client_left"


def test_errors_tell_no_secrets(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider
) -> None:
    """What a provider or a node says in an error reaches clients without keys, paths or stack."""
    key = "a-secret-of-this-process"
    text = f"wrong key sk-abcdefghijklmnopqrstu or {key} in /home/ann/project/graph.py line 3"
    provider.on("first", Reply(status=401, message=text))
    server = serve("sample:two_steps", "--memory", OPENAI_API_KEY=key)
    streamed = http.post(f"{server.url}/runs/stream", json=body("two_steps")).text
    waited = http.post(f"{server.url}/runs/wait", json=body("two_steps")).text
    for told in (streamed, waited):
        assert "wrong key ***" in told
        for secret in ("sk-abc", key, "/home/ann", "Traceback", "site-packages"):
            assert secret not in told


def test_scrubbing() -> None:
    """Addresses and ordinary words stay; keys and folders go."""
    said = "see https://platform.example/docs/api.html or a/b.py"
    assert scrubbed(said) == said
    assert scrubbed("'/opt/a b/x.py' failed") == "'x.py' failed"
    assert scrubbed("Authorization: Bearer abc123") == "Authorization: Bearer ***"


def test_headers_and_heartbeats(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider
) -> None:
    """A stream tells proxies not to buffer, and is never silent for long."""
    provider.on("first", Reply("a b", hold_after=1))
    provider.on("second", "end")
    server = serve("sample:two_steps", "--memory", "--heartbeat-seconds", "0.05")
    with http.stream("POST", f"{server.url}/runs/stream", json=body("two_steps")) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["location"].endswith("/stream")
        beats = 0
        for line in answer.iter_lines():
            beats += line == ": heartbeat"
            if beats == 3:
                provider.release()
        assert beats >= 3


def test_who_does_not_read_is_dropped(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider
) -> None:
    """A client that reads nothing loses its connection; its run ends, and is there to be read."""
    provider.on("first", Reply(tokens=20_000))
    provider.on("second", Reply("end", first_after=4))  # meanwhile the client is dropped
    server = serve("sample:two_steps", "--slow-seconds", "0.3")
    host, port = server.url.removeprefix("http://").split(":")
    sent = json.dumps(body("two_steps", stream_mode="messages-tuple", on_completion="keep"))
    head = f"POST /runs/stream HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(sent)}\r\n\r\n"
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((host, int(port)))
        raw.sendall((head + sent).encode())
        first = raw.recv(1000).decode()
        place = next(
            line.partition(" ")[2]
            for line in first.splitlines()
            if line.lower().startswith("location")
        )
        values = http.get(f"{server.url}{place.removesuffix('/stream')}/join", timeout=100).json()
        assert values["second"] == "end"
        raw.settimeout(20)
        received = 0
        try:
            while data := raw.recv(65536):
                received += len(data)
        except ConnectionError:
            pass
    assert received < 5_000_000  # of some 20 MB
    cursor = {"last-event-id": "-1"}
    with http.stream("GET", f"{server.url}{place}", headers=cursor) as answer:
        assert sum(line == "event: messages" for line in answer.iter_lines()) > 20_000


async def test_a_run_that_is_stopped_before_it_starts_is_over() -> None:
    """A run that is cancelled at once is interrupted, its record ends, and its thread is free."""

    async def answer(state: State) -> State:
        return {"answer": "said"}

    graph = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile()
    request = RunRequest(graph="graph", input={"answer": ""}, modes=["values"])
    async with in_memory() as home, Runs({"graph": graph}, home) as runs:
        run = await runs.start(request, thread_id="thread")
        await runs.cancel(run.id, wait=True)
        assert (await runs.get(run.id)).status == "interrupted"
        assert [event.kind async for event in runs.follow(run.id)] == ["end"]
        assert (await runs.thread("thread")).status == "idle"
        after = await runs.wait((await runs.start(request, thread_id="thread")).id)
    assert after.status == "success"


async def test_what_is_old_or_too_much_goes() -> None:
    """Runs that are over are forgotten by age and by the size of all events, oldest first."""

    async def answer(state: State) -> State:
        return {"answer": "x" * 10_000}

    graph = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile()
    request = RunRequest(graph="graph", input={"answer": ""}, modes=["values"])
    async with in_memory() as home, Runs({"graph": graph}, home, Limits(keep_bytes=25_000)) as runs:
        made = [await runs.wait((await runs.start(request)).id) for _ in range(4)]
        assert await sweep(runs) == 2
        assert [run.id for run in await runs.store.old_runs(9)] == [run.id for run in made[2:]]
        assert [event async for event in runs.follow(made[0].id)] == []
        assert [event async for event in runs.follow(made[3].id)] != []
        runs.limits = Limits(keep_seconds=0)
        assert await sweep(runs) == 2
        assert await runs.store.old_runs(9) == []


async def test_old_threads_go_with_their_checkpoints() -> None:
    """A thread that nobody touches is forgotten when its last run is, and not before."""

    async def answer(state: State) -> State:
        return {"answer": "said"}

    graph = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile()
    request = RunRequest(graph="graph", input={"answer": ""}, modes=["values"])
    async with in_memory() as home, Runs({"graph": graph}, home) as runs:
        assert isinstance(home.checkpoints, MemoryCheckpoints)
        await runs.wait((await runs.start(request, thread_id="thread")).id)
        assert await sweep(runs) == 0
        assert (await runs.thread("thread")).values == {"answer": "said"}
        assert "thread" in home.checkpoints.storage
        runs.limits = Limits(keep_seconds=0)
        assert await sweep(runs) == 2
        counts = await runs.store.counts()
        assert counts.threads == sum(counts.runs.values()) == 0
        assert "thread" not in home.checkpoints.storage
