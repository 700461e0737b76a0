"""Requests that have failed a server, or could: each is told what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

DEEP = "[" * 2000 + "]" * 2000
LONG = "x" * 5000


def test_they_are_refused(serve: Callable[..., Any], http: httpx.Client) -> None:
    """Keys that SQLite cannot ask for, half characters, numbers that are none, endless ids."""
    server = serve("talk=sample:talk", "asks=sample:asks")
    http.base_url = httpx.URL(server.url)
    thread = http.post("/threads", json={}).json()["thread_id"]
    body: dict[str, Any] = {"assistant_id": "talk", "input": {"messages": "hi"}}
    http.post(f"/threads/{thread}/runs/wait", json=body)
    for path, sent in [
        (f"/threads/{thread}/history", {"metadata": {"a'b": 1}}),
        (f"/threads/{thread}/history", {"metadata": {"": 1}}),
        (f"/threads/{thread}/history", {"metadata": {'a") OR 1=1 --': 1}}),
        (f"/threads/{thread}/history", {"before": {"configurable": 5}}),
        (f"/threads/{thread}/history", {"before": {"configurable": {"checkpoint_id": [1]}}}),
        (f"/threads/{thread}/state", {"values": {"messages": "hi"}, "as_node": "nobody"}),
        (f"/threads/{thread}/state", {"values": 7}),
        ("/threads/search", {"select": ["thread_id", {}]}),
        ("/threads", {"thread_id": LONG}),
        (f"/threads/{LONG}/runs", {**body, "if_not_exists": "create"}),
        ("/graphs/talk/events", {"input": {"messages": "hi"}, "thread_id": LONG}),
        ("/graphs/talk/events", '{"input": {"messages": "\\ud800"}}'),
        ("/graphs/talk/events", '{"input": {"messages": NaN}}'),
        ("/graphs/talk/events", f'{{"input": {DEEP}}}'),
        ("/runs/wait", f'{{"assistant_id": "talk", "input": {DEEP}}}'),
    ]:
        content = sent if isinstance(sent, str) else json.dumps(sent)
        answer = http.post(path, content=content)
        assert answer.status_code == 422, (path, sent, answer.text)
        assert answer.json()["detail"]
    for query in (f"input={DEEP}", "input=NaN"):
        assert http.get(f"/graphs/talk/events?{query}").status_code == 422
    assert len(http.post("/threads/search", json={}).json()) == 1


def test_values_of_urls_are_json(serve: Callable[..., Any], http: httpx.Client) -> None:
    """A key that is not text is read as strict JSON, however deep it is nested."""
    server = serve("own=sample:talk", "numbers=sample:numbers", "--memory")
    for text in ("NaN", DEEP, '"\\ud800"', "1e999"):
        answer = http.get(f"{server.url}/graphs/numbers/events", params={"count": text})
        assert answer.status_code == 422, text
    answer = http.get(f"{server.url}/graphs/numbers/events", params={"count": "7"})
    assert "event: end" in answer.text


def test_openai_clients_are_told_in_their_words(
    serve: Callable[..., Any], http: httpx.Client
) -> None:
    """Whatever is wrong, OpenAI's protocol has one shape for it; nothing is run."""
    server = serve("talk=sample:talk", "--memory", "--max-body", "5000")
    http.base_url = httpx.URL(f"{server.url}/v1")
    said = {"role": "user", "content": "hi"}

    def ask(*messages: Any, **more: Any) -> str:
        return json.dumps({"model": "talk", "messages": messages, **more})

    for method, path, content, status, code in [
        ("GET", "/nothing", None, 404, None),
        ("DELETE", "/models", None, 405, None),
        ("GET", "/models/gpt-4o", None, 404, "model_not_found"),
        ("POST", "/chat/completions", None, 400, None),
        ("POST", "/chat/completions", "{", 400, None),
        ("POST", "/chat/completions", DEEP, 400, None),
        ("POST", "/chat/completions", ask(said, model="gpt-4o"), 404, "model_not_found"),
        (
            "POST",
            "/chat/completions",
            ask({**said, "content": "x" * 5000}),
            413,
            "request_too_large",
        ),
        ("POST", "/chat/completions", ask({**said, "role": "remove"}), 400, None),
        ("POST", "/chat/completions", ask({**said, "role": "tool"}), 400, None),
        ("POST", "/chat/completions", ask({**said, "content": None}), 400, None),
        ("POST", "/chat/completions", ask({**said, "content": "\ud800"}), 400, None),
        (
            "POST",
            "/chat/completions",
            ask({"role": "assistant", "tool_calls": [{"id": 1}]}, said),
            400,
            None,
        ),
        ("POST", "/chat/completions", ask(said, stream="yes"), 400, None),
    ]:
        answer = http.request(method, path, content=content)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, code), (content, answer.text)
        assert error["type"] == "invalid_request_error"
        assert error["message"]
    assert 'tokenweir_runs_kept{status="error"} 0' in http.get(f"{server.url}/metrics").text
    answer = http.post("/chat/completions", content=ask(said))
    assert answer.json()["choices"][0]["message"]["content"] == "You said: hi"
