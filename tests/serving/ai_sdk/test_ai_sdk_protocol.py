"""The AI SDK's routes, as any client may use them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.serving.conftest import Shared
from tokenweir.testing import Reply


def user(text: str, id: str = "u1") -> dict[str, Any]:
    """A message of the user."""
    return {"id": id, "role": "user", "parts": [{"type": "text", "text": text}]}


def events(text: str) -> list[dict[str, Any]]:
    """The events of a response that is complete."""
    frames = [frame.removeprefix("data: ") for frame in text.split("\n\n")]
    assert frames[-2:] == ["[DONE]", ""]
    return [json.loads(frame) for frame in frames[:-2]]


def test_a_response(shared: Shared, http: httpx.Client) -> None:
    """The header that names the version, the message's frame, and the end."""
    shared.provider.on("plain", "one two")
    body = {"id": "plain-1", "messages": [user("plain")], "trigger": "submit-message", "x": 1}
    answer = http.post(f"{shared.url}/ai/chat", json=body)
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [event["type"] for event in events(answer.text)] == [
        "start",
        "message-metadata",
        "start-step",
        "text-start",
        "text-delta",
        "text-delta",
        "text-end",
        "finish-step",
        "finish",
    ]
    assert http.get(f"{shared.url}/ai/chat/plain-1/stream").status_code == 204
    assert http.get(f"{shared.url}/ai/chat/unknown/stream").status_code == 204
    assert http.get(f"{shared.url}/ai/joke_poem/plain-1/stream").status_code == 204


def test_plain_state(shared: Shared, http: httpx.Client) -> None:
    """A graph over plain state takes the user's text, or an input beside the messages."""
    shared.provider.on("about dogs", "woof", "bow")
    body: dict[str, Any] = {"id": "plain-2", "messages": [user("?")], "input": {"topic": "dogs"}}
    told = events(http.post(f"{shared.url}/ai/joke_poem", json=body).text)
    assert [event["delta"] for event in told if event["type"] == "text-delta"] == ["woof", "bow"]
    refused = http.post(f"{shared.url}/ai/asks", json={"id": "x", "messages": [user("cats")]})
    assert refused.status_code == 422
    assert "write the user's message as JSON" in refused.json()["detail"]


def test_pictures(shared: Shared, http: httpx.Client) -> None:
    """Files go to the model as LangChain writes them for it."""
    shared.provider.on("what is it", "a dot")
    picture = "data:image/png;base64,aGk="
    message = user("what is it")
    message["parts"].append({"type": "file", "mediaType": "image/png", "url": picture})
    http.post(f"{shared.url}/ai/chat", json={"id": "plain-3", "messages": [message]})
    request = next(each for each in reversed(shared.provider.requests) if "what" in each.prompt)
    content = request.body["messages"][-1]["content"]
    assert {"type": "image_url", "image_url": {"url": picture}} in content


def test_a_history_of_the_clients(shared: Shared, http: httpx.Client) -> None:
    """A chat that the server does not know begins with what the page has of it."""
    shared.provider.on("and now", "now")
    said = {"id": "a1", "role": "assistant", "parts": [{"type": "text", "text": "well"}]}
    messages = [user("before"), said, user("and now", "u2")]
    http.post(f"{shared.url}/ai/chat", json={"id": "plain-4", "messages": messages})
    request = next(each for each in reversed(shared.provider.requests) if "now" in each.prompt)
    assert [each["content"] for each in request.body["messages"][-3:]] == [
        "before",
        "well",
        "and now",
    ]


def test_tools_of_the_page(shared: Shared, http: httpx.Client) -> None:
    """The result of a tool that the page has called goes to the graph, once."""
    shared.provider.on("hello", Reply("", tool_calls=[]), "done")
    said: dict[str, Any] = {"id": "a1", "role": "assistant", "parts": []}
    said["parts"].append(
        {"type": "tool-x", "toolCallId": "c9", "state": "output-available", "output": 1}
    )
    body = {"id": "plain-5", "messages": [user("hello"), said]}
    refused = http.post(f"{shared.url}/ai/chat", json=body)
    assert refused.status_code == 422
    assert "answers no interrupt or tool call" in refused.json()["detail"]


@pytest.mark.parametrize("asked", ["cancel", "continue"])
def test_what_leaving_means(shared: Shared, http: httpx.Client, asked: str) -> None:
    """``on_disconnect`` says at once whether the run ends with its reader."""
    prompt = f"leaving {asked}"
    shared.provider.on(prompt, Reply("la la la", hold_after=1))
    body = {"id": f"leaving-{asked}", "messages": [user(prompt)]}
    url = f"{shared.url}/ai/chat?on_disconnect={asked}"
    with http.stream("POST", url, json=body) as answer:
        for line in answer.iter_lines():
            if '"la"' in line:
                break
    request = next(each for each in reversed(shared.provider.requests) if each.prompt == prompt)
    if asked == "cancel":
        request.wait_closed(60)
        return
    shared.provider.release()
    told = events(http.get(f"{shared.url}/ai/chat/leaving-continue/stream").text)
    deltas = [event["delta"] for event in told if event["type"] == "text-delta"]
    assert "".join(deltas) == "la la la"
