"""Requests for LangGraph's key-value store, and for histories, that no database can answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx

LABELS = ["", "a.b", "a\0b", "a" * 100_000]
FILTERS: list[Any] = [
    {"": 1},
    {"n": {"$foo": 1}},
    {"n": {"$gt": None}},
    {"n": "\0"},
    {"n": 10**400},
]


def refused() -> Iterator[tuple[str, str, Any]]:
    for label in LABELS:
        for namespace in ([label], ["a", label]):
            yield "PUT", "/store/items", {"namespace": namespace, "key": "k", "value": {}}
            yield "DELETE", "/store/items", {"namespace": namespace, "key": "k"}
            yield "POST", "/store/items/search", {"namespace_prefix": namespace}
            yield "POST", "/store/namespaces", {"prefix": namespace}
            yield "POST", "/store/namespaces", {"suffix": namespace, "max_depth": 1}
    for value in ("\0", 10**30, 10**400):
        yield "PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {"n": [value]}}
    for key in ("\0", "k" * 2001):
        yield "PUT", "/store/items", {"namespace": ["a"], "key": key, "value": {}}
        yield "DELETE", "/store/items", {"namespace": ["a"], "key": key}
    for place in ("?namespace=...&key=k", "?key=%00", "?namespace=a%00b&key=k"):
        yield "GET", f"/store/items{place}", {}
    for wrong in FILTERS:
        yield "POST", "/store/items/search", {"filter": wrong}
    for depth in (-(10**30), -1, 0, 2**31, 10**30):
        yield "POST", "/store/namespaces", {"max_depth": depth}
    for path in ("/store/items/search", "/store/namespaces"):
        yield "POST", path, {"offset": -1}


def test_impossible_requests(serve: Callable[..., Any], http: httpx.Client) -> None:
    """Each is refused as wrong, and not answered as trouble of the server."""
    url = serve("talk=sample:talk").url
    for method, path, body in refused():
        answer = http.request(method, url + path, content=json.dumps(body))
        assert answer.status_code == 422, (method, path, str(body)[:100], answer.text)
    thread = http.post(f"{url}/threads", json={}).json()["thread_id"]
    run = {"assistant_id": "talk", "input": {"messages": "hi"}}
    http.post(f"{url}/threads/{thread}/runs/wait", json=run)
    for wrong in ({"n": 10**30}, {"n": ["\0"]}, {"..": 1}):
        asked = json.dumps({"metadata": wrong})
        answer = http.post(f"{url}/threads/{thread}/history", content=asked)
        assert (answer.status_code, "metadata" in answer.text) == (422, True), answer.text
    for path in ("/store/items/search", "/store/namespaces"):
        for number in (2**31, 2**63, 10**400):
            for name in ("limit", "offset"):
                answer = http.post(url + path, content=json.dumps({name: number}))
                assert answer.status_code == 200, (path, name, number, answer.text)
