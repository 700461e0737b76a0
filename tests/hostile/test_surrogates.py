"""Halves of surrogate pairs, as gateways send them that cut a text by UTF-16 units."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from tokenweir.testing import Provider, Reply

TOKENS = [
    "hi ",
    "\ud83d",
    "\ude00",
    " two ",
    "\ud83d\ude00\ud83d",
    "",
    "\ude00!",
    " lone ",
    "\ud83d",
]
TOKENS += [" more ", "\ude00x", " more", " end\ud83d"]
TEXT = "hi 😀 two 😀😀! lone \ufffd more \ufffdx more end\ufffd"
INPUT = {"topic": "cats"}


@pytest.fixture
def cut(provider: Provider) -> Provider:
    """A provider whose first answer is cut within letters."""
    provider.on("first", Reply(tokens=TOKENS, reasoning=["so \ud83d", "\ude00 it is \ude00"]))
    return provider


def texts(events: str) -> dict[str, str]:
    """The texts of a ``messages-tuple`` stream by message id; every line of data is strict JSON."""
    found: dict[str, str] = {}
    name = ""
    for line in events.splitlines():
        name = line[7:] if line.startswith("event: ") else name
        if line.startswith("data: "):
            data = json.loads(line[6:])
            json.dumps(data, ensure_ascii=False).encode()
            if name == "messages":
                found[data[0]["id"]] = found.get(data[0]["id"], "") + data[0]["content"]
    return found


def test_every_protocol(serve: Callable[..., Any], http: httpx.Client, cut: Provider) -> None:
    """Halves that came in two chunks are one letter in the record, others U+FFFD, said once."""
    cut.on("second", "end")
    server = serve("sample:two_steps", "--memory")
    body = {"assistant_id": "two_steps", "input": INPUT}
    modes = ["messages-tuple", "updates", "values", "debug", "tasks"]
    answer = http.post(f"{server.url}/runs/stream", json={**body, "stream_mode": modes})
    assert list(texts(answer.text).values()) == [TEXT, "end"]
    values = [line for line in answer.text.splitlines() if line.startswith('data: {"topic"')]
    assert json.loads(values[-1][6:])["first"] == TEXT
    partial = http.post(f"{server.url}/runs/stream", json={**body, "stream_mode": "messages"}).text
    whole = [
        json.loads(line[6:])[0] for line in partial.splitlines() if 'data: [{"content"' in line
    ]
    assert TEXT in [each["content"] for each in whole]
    reasons = [each["additional_kwargs"].get("reasoning_content") for each in whole]
    assert "so 😀 it is \ufffd" in reasons
    assert http.post(f"{server.url}/runs/wait", json=body).json()["first"] == TEXT
    told = http.get(f"{server.url}/graphs/two_steps/events?topic=cats").text
    tokens = [json.loads(line[6:]) for line in told.splitlines() if '"type":"token"' in line]
    assert "".join(each["text"] for each in tokens) == TEXT + "end"
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        said: list[Any] = [{"role": "user", "content": json.dumps(INPUT)}]
        made = client.chat.completions.create(model="two_steps", messages=said)
        assert made.choices[0].message.content == f"{TEXT}\n\nend"
        parts = client.chat.completions.create(model="two_steps", messages=said, stream=True)
        deltas = [part.choices[0].delta.content or "" for part in parts]
        assert "".join(deltas) == f"{TEXT}\n\nend"
    server.terminate()
    assert server.stderr().count("surrogate") == 1


def test_a_restart(serve: Callable[..., Any], http: httpx.Client, cut: Provider) -> None:
    """A run with halves in its record goes on after a kill, and its readers with it."""
    cut.on("second", Reply("the end", hold_after=1), "the end")
    server = serve("sample:two_steps")
    body = {"assistant_id": "two_steps", "input": INPUT, "stream_mode": ["messages-tuple"]}
    thread = http.post(f"{server.url}/threads", json={}).json()["thread_id"]
    run = http.post(f"{server.url}/threads/{thread}/runs", json=body).json()["run_id"]
    cut.wait_for_requests(2)
    server.kill()
    again = serve("sample:two_steps")
    place = f"{again.url}/threads/{thread}/runs/{run}"
    told = http.get(f"{place}/stream", headers={"last-event-id": "-1"}).text
    assert TEXT in texts(told).values()
    assert "the end" in texts(told).values()
    assert http.get(place).json()["status"] == "success"
