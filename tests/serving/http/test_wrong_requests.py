"""Requests that have failed a server, or could: each is told what is wrong with it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from langgraph.graph import START, MessagesState, StateGraph

from tokenweir.serving.app import create_app
from tokenweir.serving.problems import Limits

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


RUN: dict[str, Any] = {"assistant_id": "two_steps", "input": {"topic": "x"}}

HALF = "the body is not JSON: it has half of a surrogate pair: "
BODIES = [
    (rb'{"input": {"topic": "\ud83d"}}', HALF + "\\ud83d"),
    (rb'{"input": {"topic": "a\uDC00"}}', HALF + "\\uDC00"),
    (rb'{"input": {"topic": "\ud83d\u0041"}}', HALF + "\\ud83d"),
    (b'\xef\xbb\xbf{"input": {}}', "the body is not JSON: it begins with a byte order mark"),
]


@pytest.mark.parametrize(("body", "told"), BODIES)
def test_bodies_that_are_no_json(shared: Any, http: httpx.Client, body: bytes, told: str) -> None:
    """Texts that cannot be decoded are told by what is wrong with them."""
    for path in ("graphs/two_steps/events", "runs", "threads"):
        answer = http.post(f"{shared.url}/{path}", content=body)
        assert (answer.status_code, answer.json()["detail"]) == (422, told)


def test_compressed_bodies(shared: Any, http: httpx.Client) -> None:
    """They are refused, whatever they are compressed with; ``identity`` is none."""
    body = json.dumps({"input": {"topic": "x"}}).encode()
    for coding, content in [("gzip", gzip.compress(body)), ("br", body), ("gzip, br", body)]:
        headers = {"content-encoding": coding}
        answer = http.post(
            f"{shared.url}/graphs/two_steps/events", content=content, headers=headers
        )
        assert answer.status_code == 422
        told = f"the body is compressed ({coding}); send it without Content-Encoding"
        assert answer.json()["detail"] == told
    headers = {"content-encoding": "identity"}
    answer = http.post(f"{shared.url}/graphs/two_steps/events", content=body, headers=headers)
    assert answer.status_code == 200


def test_statuses_that_are_not_known(shared: Any, http: httpx.Client) -> None:
    """Nothing can have them, so a list of what has them would be empty for a misspelt one."""
    thread = http.post(f"{shared.url}/threads", json={}).json()["thread_id"]
    told = "status is one of error, interrupted, pending, running, success, timeout"
    answer = http.get(f"{shared.url}/threads/{thread}/runs?status=done")
    assert (answer.status_code, answer.json()["detail"]) == (422, told)
    answer = http.get(f"{shared.url}/threads/{thread}/runs?status=success")
    assert (answer.status_code, answer.json()) == (200, [])
    told = "status is one of busy, error, idle, interrupted"
    for path in ("search", "count"):
        answer = http.post(f"{shared.url}/threads/{path}", json={"status": "done"})
        assert (answer.status_code, answer.json()["detail"]) == (422, told)
        answer = http.post(f"{shared.url}/threads/{path}", json={"status": "idle"})
        assert answer.status_code == 200


WORDS = [
    ("runs", RUN, "on_disconnect", "cancel, continue"),
    ("runs", RUN, "if_not_exists", "create, reject"),
    ("runs", RUN, "on_completion", "delete, keep"),
    ("runs", RUN, "multitask_strategy", "enqueue, interrupt, reject, rollback"),
    ("runs", RUN, "durability", "async, exit, sync"),
    ("threads", {}, "if_exists", "do_nothing, raise"),
    ("assistants", {"graph_id": "two_steps"}, "if_exists", "do_nothing, raise"),
]


@pytest.mark.parametrize(("where", "body", "name", "allowed"), WORDS)
def test_words_that_are_not_known(
    shared: Any, http: httpx.Client, where: str, body: dict[str, Any], name: str, allowed: str
) -> None:
    """A field that is one of a few words says which, whatever else is sent; null is its default."""
    wrongs: list[Any] = ["maybe", "", 1, True, [allowed], {}]
    for wrong in wrongs:
        for path in [where, *(f"{where}/{how}" for how in ("wait", "stream") if where == "runs")]:
            answer = http.post(f"{shared.url}/{path}", json={**body, name: wrong})
            assert (answer.status_code, answer.json()["detail"]) == (
                422,
                f"{name} is one of {allowed}",
            )
    assert http.post(f"{shared.url}/{where}", json={**body, name: None}).status_code == 200


CONFIGS = [
    ({"tags": 5}, "config.tags must be a list of strings"),
    ({"tags": "a"}, "config.tags must be a list of strings"),
    ({"tags": ["a", 1]}, "config.tags must be a list of strings"),
    ({"configurable": []}, "config.configurable must be an object"),
    ({"metadata": "x"}, "config.metadata must be an object"),
    ({"run_name": 3}, "config.run_name must be a string"),
    ({"recursion_limit": "5"}, "config.recursion_limit must be a number from 1 to 10000"),
    ({"recursion_limit": True}, "config.recursion_limit must be a number from 1 to 10000"),
    ({"max_concurrency": 0}, "config.max_concurrency must be a number from 1 to 10000"),
    ([], "config must be an object"),
]


@pytest.mark.parametrize(("config", "told"), CONFIGS)
def test_configs_of_wrong_types(
    shared: Any, http: httpx.Client, config: dict[str, Any], told: str
) -> None:
    """They are refused where they are sent, and are no runs that fail."""
    before = http.get(f"{shared.url}/metrics").text
    for path, body in [
        ("runs", RUN),
        ("runs/stream", RUN),
        ("assistants", {"graph_id": "two_steps"}),
        ("graphs/two_steps/events", {"input": {"topic": "x"}}),
    ]:
        answer = http.post(f"{shared.url}/{path}", json={**body, "config": config})
        assert answer.status_code == 422, (path, answer.text)
        if config or not path.startswith("graphs"):
            assert answer.json()["detail"] == told
    assert _kept(http.get(f"{shared.url}/metrics").text) == _kept(before)
    nothing = {"tags": None, "configurable": None, "metadata": None, "other": 1}
    answer = http.post(f"{shared.url}/runs", json={**RUN, "config": nothing})
    assert answer.status_code == 200


def _kept(metrics: str) -> list[str]:
    return [line for line in metrics.splitlines() if "kept" in line and "error" in line]


async def test_assistants_are_bounded() -> None:
    """Each key may have so many, of so many bytes; a graph's own do not count, nor others'."""
    graph = StateGraph(MessagesState).add_node("one", lambda state: state).add_edge(START, "one")
    app = create_app({"one": graph.compile()}, keys=["a", "b"], limits=Limits(assistants=3))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

            async def post(key: str, path: str = "", **more: Any) -> httpx.Response:
                method = "PATCH" if path else "POST"
                body = {"graph_id": "one", **more}
                headers = {"x-api-key": key}
                where = f"/assistants{path}"
                return await client.request(method, where, json=body, headers=headers)

            made = [(await post("a")).json()["assistant_id"] for _ in range(3)]
            refused = await post("a")
            assert (refused.status_code, refused.json()["detail"]) == (
                409,
                "there are already 3 assistants; delete one first",
            )
            known = await post("a", assistant_id=made[0], if_exists="do_nothing")
            assert known.json()["assistant_id"] == made[0]
            assert (await post("b")).status_code == 200
            large: dict[str, Any] = {"config": {"configurable": {"text": "x" * 70_000}}}
            assert (await post("b", **large)).status_code == 413
            assert (await post("a", f"/{made[0]}", **large)).status_code == 413
            answer = await client.get(f"/assistants/{made[0]}", headers={"x-api-key": "a"})
            assert answer.json()["config"] == {}
            assert (await post("b", assistant_id="x" * 201)).status_code == 422
            await client.delete(f"/assistants/{made[0]}", headers={"x-api-key": "a"})
            assert (await post("a")).status_code == 200


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
