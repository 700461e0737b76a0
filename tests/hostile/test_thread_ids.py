"""Thread ids that are no plain ASCII: each works on every route, or is refused before a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from langgraph_sdk import get_sync_client

from tokenweir.testing import Provider

IDS = ["用户-42", "naïve ☕", "a b?c#d%2f;e", "user@example:7", "\N{ZERO WIDTH JOINER}", "x" * 200]
REFUSED = ["", ".", "..", "a\r\nset-cookie: x=1", "a\nb", "\0", "a\x7f", "\x85", "a/b", "x" * 201]


@pytest.fixture(scope="module")
def body() -> dict[str, Any]:
    return {"assistant_id": "talk", "input": {"messages": "hi"}, "if_not_exists": "create"}


def test_ids_beyond_latin_1(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider, body: dict[str, Any]
) -> None:
    """A run on such a thread is streamed, and its Location leads back to it; clients read both."""
    server = serve("talk=sample:talk", "--memory")
    for thread_id in IDS:
        place = f"{server.url}/threads/{quote(thread_id, safe='')}"
        with http.stream("POST", f"{place}/runs/stream", json=body) as answer:
            assert answer.status_code == 200, thread_id
            assert answer.read().count(b"event: values") == 2
        found = http.get(
            f"{server.url}{answer.headers['location']}", headers={"last-event-id": "-1"}
        )
        assert found.text.count("event: values") == 2
        at = answer.headers["content-location"].rpartition("/")[0]
        assert http.get(f"{server.url}{at}").json()[0]["thread_id"] == thread_id
        assert http.post(f"{place}/runs/wait", json=body).status_code == 200
        created = http.post(f"{place}/runs", json=body)
        assert created.json()["thread_id"] == thread_id
        assert http.get(f"{server.url}{created.headers['location']}").status_code == 200
        events = http.get(
            f"{server.url}/graphs/talk/events?messages=hi&thread_id={quote(thread_id)}"
        )
        assert events.text.count("event: end") == 1
    with get_sync_client(url=server.url) as client:
        told = client.runs.stream("用户-42", "talk", input={"messages": "hi"}, stream_mode="values")
        assert [part.event for part in told].count("values") == 2
        assert client.threads.get("用户-42")["thread_id"] == "用户-42"


def test_ids_that_cannot_stand_in_a_url(
    serve: Callable[..., Any], http: httpx.Client, provider: Provider, body: dict[str, Any]
) -> None:
    """CR, LF, NUL and the like are refused on every route that makes a thread; nothing runs."""
    server = serve("talk=sample:talk", "--memory")
    for thread_id in REFUSED:
        answer = http.get(
            f"{server.url}/graphs/talk/events?messages=hi&thread_id={quote(thread_id)}"
        )
        assert answer.status_code == 422, thread_id
        assert "control character" in answer.json()["detail"]
        if thread_id:  # none: the server makes one
            answer = http.post(f"{server.url}/threads", json={"thread_id": thread_id})
            assert answer.status_code == 422, thread_id
            if thread_id.strip("./") == thread_id and "/" not in thread_id:
                place = f"{server.url}/threads/{quote(thread_id, safe='')}/runs"
                for path in (place, f"{place}/stream", f"{place}/wait"):
                    assert http.post(path, json=body).status_code == 422, thread_id
    assert not provider.requests
    assert "tokenweir_events_total 0" in http.get(f"{server.url}/metrics").text
