"""What becomes of a run whose reader leaves: what ``on_disconnect`` says, on each protocol."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tokenweir.testing import Reply

LANGGRAPH = (
    "/runs/stream",
    "/runs/wait",
    "/threads/{thread}/runs/stream",
    "/threads/{thread}/runs/wait",
)
JOINS = ("/threads/{thread}/runs/{run}/join", "/threads/{thread}/runs/{run}/stream")


def begun(shared: Any, way: str, topic: str, policy: str | None) -> socket.socket:
    """A connection that waits for an answer to a request, of which the head has come."""
    with httpx.Client(base_url=shared.url, timeout=60) as http:
        thread = http.post("/threads", json={}).json()["thread_id"]
        method, path = "POST", way.replace("{thread}", thread)
        body: dict[str, Any] = {"assistant_id": "two_steps", "input": {"topic": topic}}
        body |= {"stream_mode": ["messages-tuple", "values"]}
        body |= {"on_disconnect": policy} if policy else {}
        if way.startswith("GET "):
            method, path = way.split(" ")
            path += f"?topic={topic}" + (f"&on_disconnect={policy}" if policy else "")
        elif way.startswith("POST "):
            path = way.partition(" ")[2]
            body = {"input": {"topic": topic}, **({"on_disconnect": policy} if policy else {})}
        elif way in JOINS:
            method = "GET"
            body.pop("on_disconnect", None)
            run = http.post(f"/threads/{thread}/runs", json=body).json()["run_id"]
            path = path.replace("{run}", run)
            path += "?cancel_on_disconnect=true" if policy == "cancel" else ""
    data = json.dumps(body).encode() if method == "POST" else b""
    host, _, port = shared.url.removeprefix("http://").rpartition(":")
    raw = socket.create_connection((host, int(port)), timeout=60)
    head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(data)}\r\n\r\n"
    raw.sendall(head.encode() + data)
    return raw


WAYS = ["GET /graphs/two_steps/events", "POST /graphs/two_steps/events", *LANGGRAPH, *JOINS]


@pytest.mark.parametrize("policy", ["cancel", "continue", None])
@pytest.mark.parametrize("way", WAYS)
def test_who_leaves(shared: Any, way: str, policy: str | None) -> None:
    """With ``cancel`` the provider's connection ends; else the run does, and can be read then."""
    topic = uuid4().hex
    shared.provider.on(f"first {topic}", Reply("one two", hold_after=1))
    shared.provider.on(f"second {topic}", "three")

    def asked() -> list[Any]:
        return [request for request in shared.provider.requests if topic in request.prompt]

    with begun(shared, way, topic, policy) as raw:
        head = b""
        while b"\r\n\r\n" not in head:
            head += raw.recv(1000)
        while not asked():
            with contextlib.suppress(TimeoutError):  # it may have come just now
                shared.provider.wait_for_requests(len(shared.provider.requests) + 1, timeout=0.2)
    found = re.search(rb"location: .*/runs/([0-9a-f-]{36})", head, re.IGNORECASE)
    assert found is not None
    run = found[1].decode()
    with httpx.Client(base_url=shared.url, timeout=60) as http:
        if policy == "cancel":
            asked()[0].wait_closed(60)
        else:
            for _ in range(5):  # the server has seen that nobody is there
                http.get("/ok")
            shared.provider.release()
        text = http.get(f"/runs/{run}/events").text
    records = [json.loads(data) for data in re.findall("^data: (.*)$", text, re.MULTILINE)]
    said = "".join(each["text"] for each in records if each["type"] == "token")
    states = [request.state for request in asked()]
    if policy == "cancel":
        assert (states, records[-1]["status"]) == (["client_left"], "interrupted")
        assert "one two".startswith(said)
    else:
        assert (states, records[-1]["status"]) == (["finished"] * 2, "success")
        assert said == "one twothree"
