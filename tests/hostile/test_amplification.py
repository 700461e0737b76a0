"""A few large fields of a request that every token would carry: refused, and nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx

from tokenweir.testing import Provider

MOST = 65_536
LARGE = "x" * MOST
INPUT: dict[str, Any] = {"input": {"messages": "hi"}}


def runs(more: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every way to start a run with some fields."""
    body = {"assistant_id": "talk", **INPUT, **more}
    for path in ("/runs", "/runs/stream", "/runs/wait"):
        yield path, body
        yield f"/threads/some{path}", {**body, "if_not_exists": "create"}
    yield "/runs/batch", [body]


def test_what_every_token_would_carry(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider
) -> None:
    """64 KiB for all of it; the refusal names the largest field, its size, and the bound."""
    server = serve("talk=sample:talk", "--memory")
    http.base_url = httpx.URL(server.url)
    fields: list[tuple[str, dict[str, Any]]] = [
        ("metadata", {"metadata": {"a": LARGE}}),
        ("config.metadata", {"config": {"metadata": {"a": LARGE}}}),
        ("config.tags", {"config": {"tags": ["tag"] * 11_000}}),
        ("config.configurable", {"config": {"configurable": {"model": LARGE}}}),
        ("config.run_name", {"config": {"run_name": LARGE}}),
        ("checkpoint_id", {"checkpoint_id": LARGE}),
        ("metadata", {"metadata": {"a": LARGE[:40_000]}, "config": {"tags": [LARGE[:30_000]]}}),
    ]
    for name, more in fields:
        for path, body in runs(more):
            answer = http.post(path, json=body)
            assert answer.status_code == 422, (path, name)
            said = answer.json()["detail"]
            assert said.startswith(f"{name} has ")
            assert said.endswith(f"may have {MOST}")
            assert len(said) < 250
        if "config" in more and "metadata" not in more:
            answer = http.post("/graphs/talk/events", json={**INPUT, **more})
            assert answer.status_code == 422, name
            assert answer.json()["detail"].startswith(f"{name} has ")
    assert not provider.requests
    assert http.post("/threads/search", json={}).json() == []
    within = {"assistant_id": "talk", **INPUT, "metadata": {"a": LARGE[:65_000]}}
    assert http.post("/runs/wait", json=within).status_code == 200


def test_openais_clients_add_nothing(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider
) -> None:
    """What OpenAI's clients say of a completion, its metadata and its user, reaches no token."""
    server = serve("talk=sample:talk", "--memory")
    provider.on("hi", "one two three")
    body = {"model": "talk", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    more = {"metadata": {"a": LARGE}, "user": LARGE, "store": True}
    answer = http.post(f"{server.url}/v1/chat/completions", json=body | more)
    assert answer.status_code == 200
    assert "three" in answer.text
    assert len(answer.content) < 10_000


def test_threads_metadata(serve: Callable[..., Any], http: httpx.Client) -> None:
    """A thread's metadata has the same bound, when it is made and when something is added."""
    server = serve("talk=sample:talk", "--memory")
    http.base_url = httpx.URL(server.url)
    answer = http.post("/threads", json={"metadata": {"a": LARGE}})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("metadata has ")
    half = LARGE[: MOST // 2]
    thread = http.post("/threads", json={"metadata": {"a": half}}).json()["thread_id"]
    assert http.patch(f"/threads/{thread}", json={"metadata": {"b": half}}).status_code == 422
    assert http.patch(f"/threads/{thread}", json={"metadata": {"a": "", "b": half}}).is_success
    assert list(http.get(f"/threads/{thread}").json()["metadata"]) == ["a", "b"]
