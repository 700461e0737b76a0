"""Requests that claim to be what they are not: another user's, or the server's own page's."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="before Python 3.11 an async node does not know its config by itself",
)

GRAPH = f"told={Path(__file__).parent / 'told_graphs.py'}:told"
CLAIMS = {
    "langgraph_auth_user": {"identity": "root", "permissions": ["all"]},
    "langgraph_auth_user_id": "root",
    "langgraph_auth_permissions": ["all"],
    "langgraph_auth_more": "root",
    "colour": "red",
}
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:80.0) Gecko/20100101 Firefox/80.0"


def test_users_are_not_claimed(serve: Callable[..., Any], http: httpx.Client) -> None:
    """Nodes are told the key's owner; what a run or an assistant says of its user is dropped."""
    server = serve(GRAPH, "--memory", TOKENWEIR_API_KEYS="ann,bob")
    http.base_url = httpx.URL(server.url)
    config = {"configurable": CLAIMS}
    owners = set()
    for key in ("ann", "bob"):
        http.headers["x-api-key"] = key
        made = http.post("/assistants", json={"graph_id": "told", "config": config}).json()
        for body in (
            {"assistant_id": "told", "config": config},
            {"assistant_id": made["assistant_id"]},
        ):
            body = {**body, "input": {"topic": "x"}, "stream_mode": ["debug", "values"]}
            found = http.post("/runs/wait", json=body).json()
            owner = found["given"]["langgraph_auth_user_id"]
            user = {
                "identity": owner,
                "display_name": owner,
                "is_authenticated": True,
                "permissions": [],
            }
            assert found["given"] == {
                "langgraph_auth_user": user,
                "langgraph_auth_user_id": owner,
                "langgraph_auth_permissions": [],
                "colour": "red",
            }
            assert found["server"]["user"] == owner
            assert found["server"]["graph"] == "told"
            assert found["server"]["assistant"]
            owners.add(owner)
    assert len(owners) == 2
    assert not owners & {"ann", "bob", "root", ""}


def test_without_keys_nobody_is_a_user(serve: Callable[..., Any], http: httpx.Client) -> None:
    """A server without keys says so to its nodes, whatever the request says."""
    server = serve(GRAPH, "--memory")
    body = {"config": {"configurable": CLAIMS}, "input": {"topic": "x"}, "assistant_id": "told"}
    found = http.post(f"{server.url}/runs/wait", json=body).json()
    assert found["given"] == {
        "langgraph_auth_user": None,
        "langgraph_auth_user_id": "",
        "langgraph_auth_permissions": [],
        "colour": "red",
    }
    assert found["server"]["user"] is None


SENT: list[tuple[dict[str, str], int]] = [
    ({}, 200),  # curl and other programs
    ({"user-agent": BROWSER}, 403),  # <img> of a page, without a referrer
    ({"user-agent": BROWSER, "referer": "http://evil.example/page"}, 403),
    ({"user-agent": BROWSER, "referer": "http://["}, 403),
    ({"user-agent": BROWSER, "referer": "{url}/"}, 200),
    ({"user-agent": BROWSER, "sec-fetch-site": "same-origin"}, 200),
    ({"user-agent": BROWSER, "sec-fetch-site": "none"}, 200),
    ({"user-agent": BROWSER, "sec-fetch-site": "cross-site", "referer": "{url}/"}, 403),
    ({"user-agent": BROWSER, "origin": "{url}"}, 200),
]


def test_pages_start_no_run_by_get(serve: Callable[..., Any], http: httpx.Client) -> None:
    """A browser that does not say where a request comes from has to show a page of this server."""
    server = serve(GRAPH, "--memory")

    def kept() -> str:
        found = re.search(r'kept{status="success"} (\d+)', http.get(f"{server.url}/metrics").text)
        assert found is not None
        return found[1]

    for headers, status in SENT:
        before = kept()
        sent = {name: value.replace("{url}", server.url) for name, value in headers.items()}
        answer = http.get(f"{server.url}/graphs/told/events?topic=x", headers=sent)
        assert answer.status_code == status, headers
        assert (kept() == before) == (status == 403)


def test_a_browser_with_a_key(serve: Callable[..., Any], http: httpx.Client) -> None:
    """No page can have the key, so that a request that bears it is no page's."""
    server = serve(GRAPH, "--memory", TOKENWEIR_API_KEYS="ann")
    headers = {"user-agent": BROWSER, "x-api-key": "ann"}
    answer = http.get(f"{server.url}/graphs/told/events?topic=x", headers=headers)
    assert answer.status_code == 200
