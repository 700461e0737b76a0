"""Filters as text that are made to cost: nested, chained, long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tokenweir.testing import Provider

LARGEST = " & ".join(["tag:a"] * 101)
BAD = ["(" * 5000, "~" * 5000, " & ".join(["~tag:a"] * 20_000), f"{LARGEST} & tag:b", "x" * 10_001]


@pytest.fixture
def server(serve: Callable[..., Any]) -> Any:
    return serve("talk=sample:talk", "--memory")


def test_too_large_filters(server: Any, http: httpx.Client, provider: Provider) -> None:
    """A filter beyond the bound is refused on every route that takes one, and nothing runs."""
    for only in BAD:
        body = {"input": {"messages": "hi"}, "only": only}
        for path in ("/graphs/talk/events", "/runs/stream", "/runs/wait", "/runs"):
            more = {} if path.startswith("/graphs") else {"assistant_id": "talk"}
            answer = http.post(f"{server.url}{path}", json=body | more)
            assert answer.status_code == 422, (path, only[:20])
            assert "a filter has at most" in answer.json()["detail"]
            assert len(answer.content) < 200
    query = {"messages": "hi", "only": BAD[0]}
    answer = http.get(f"{server.url}/graphs/talk/events", params=query)
    assert answer.status_code == 422
    assert not provider.requests


def test_the_largest_filters(server: Any, http: httpx.Client, provider: Provider) -> None:
    """What is within the bound runs, however it is nested."""
    provider.on("", "one two")
    for only in (LARGEST, "~" * 100 + "tag:a", "(" * 49 + "~~tag:a" + ")" * 49):
        body = {"input": {"messages": "hi"}, "only": only}
        answer = http.post(f"{server.url}/graphs/talk/events", json=body)
        assert '"status":"success"' in answer.text, only[:20]
