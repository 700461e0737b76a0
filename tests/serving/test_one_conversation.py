"""The same conversation in every protocol: each client has the same messages in the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests import http_client
from tests.serving.conftest import Server, Shared
from tokenweir.testing import Provider, Reply, ToolCall

GRAPHS = ("chat", "agent", "joke_poem", "joke_poem_parallel", "joke_poem_custom", "story")
TOPIC = "cats"
ASKED = "what is 6*7"


@dataclass
class Message:
    """What a client has of one model call."""

    tags: list[str] = field(default_factory=list)
    text: str = ""
    reasoning: str = ""
    calls: dict[Any, list[str]] = field(default_factory=dict)
    """By whatever tells them apart: the name of the tool, and its arguments."""

    def shown(self) -> tuple[Any, ...]:
        """As it is compared."""
        calls = [(name, json.loads(args)) for name, args in self.calls.values()]
        return self.tags, self.text, self.reasoning, calls


@dataclass
class Heard:
    """What a client has of a conversation: messages, results of tools, and counted tokens."""

    messages: dict[str, Message] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)
    used: list[int] = field(default_factory=lambda: [0, 0])

    def of(self, id: str, tags: list[str] | None = None) -> Message:
        """A message, which begins here if it is new."""
        return self.messages.setdefault(id, Message(tags or []))

    def count(self, usage: dict[str, Any] | None, inward: str, outward: str) -> None:
        """Add what a call took."""
        if usage:
            self.used[0] += usage.get(inward, 0)
            self.used[1] += usage.get(outward, 0)

    def shown(self) -> dict[str, Any]:
        """As it is compared: calls at once may begin in any order."""
        said = [each.shown() for each in self.messages.values()]
        return {"messages": sorted(said, key=str), "results": self.results, "used": self.used}


def frames(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    """The events of a response: their names and their data."""
    assert answer.status_code == 200, answer.read()
    name = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: ") and line != "data: [DONE]":
            yield name, json.loads(line[6:])


def given(graph: str) -> dict[str, Any]:
    """A graph's input."""
    if graph in ("chat", "agent"):
        return {"messages": [{"role": "user", "content": ASKED}]}
    return {"topic": TOPIC}


def said(graph: str) -> str:
    """What a user says to it in a chat."""
    return ASKED if graph in ("chat", "agent") else TOPIC


def add_calls(message: Message, calls: list[dict[str, Any]]) -> None:
    """Add the pieces of tool calls, as LangChain has them."""
    for call in calls:
        known = message.calls.setdefault(call.get("index"), ["", ""])
        known[0] += call.get("name") or ""
        known[1] += call.get("args") or ""


def plain(url: str, graph: str) -> Heard:
    """Plain server-sent events."""
    heard = Heard()
    with http_client.stream(
        "POST", f"{url}/graphs/{graph}/events", json={"input": given(graph)}
    ) as answer:
        for name, data in frames(answer):
            if name != "token":
                continue
            if data.get("role") == "tool":
                heard.results.append(data["text"])
            elif data.get("role") in (None, "ai"):
                message = heard.of(data["id"], data["tags"])
                message.text += data["text"]
                message.reasoning += data.get("reasoning", "")
                add_calls(message, data.get("tool_calls", []))
                heard.count(data.get("usage"), "input_tokens", "output_tokens")
    return heard


def langgraph(url: str, graph: str) -> Heard:
    """LangGraph's API, ``messages-tuple``, and ``custom`` for what nodes write by hand."""
    heard = Heard()
    modes = ["messages-tuple", "custom"]
    body = {"assistant_id": graph, "input": given(graph), "stream_mode": modes}
    with http_client.stream(
        "POST", f"{url}/runs/stream", json={**body, "stream_subgraphs": True}
    ) as answer:
        for name, data in frames(answer):
            if not name.startswith(("messages", "custom")):
                continue
            chunk, metadata = data
            if chunk["type"] == "tool":
                heard.results.append(chunk["content"])
                continue
            tags = [tag for tag in metadata.get("tags") or [] if not tag.startswith("seq:")]
            message = heard.of(chunk["id"], tags)
            message.text += chunk["content"]
            message.reasoning += chunk["additional_kwargs"].get("reasoning_content", "")
            add_calls(message, chunk["tool_call_chunks"])
            heard.count(chunk["usage_metadata"], "input_tokens", "output_tokens")
    return heard


def openai(url: str, graph: str) -> Heard:
    """OpenAI's protocol, where one answer has the texts of all calls."""
    heard = Heard()
    body = {"model": graph, "messages": [{"role": "user", "content": said(graph)}], "stream": True}
    body["stream_options"] = {"include_usage": True}
    with http_client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
        for _, data in frames(answer):
            heard.count(data.get("usage"), "prompt_tokens", "completion_tokens")
            ours = data.get("tokenweir", {})
            if "result" in ours:
                heard.results.append(ours["result"])
            elif "id" in ours:
                delta = data["choices"][0]["delta"]
                new = ours["id"] not in heard.messages
                message = heard.of(ours["id"], ours.get("tags", []))
                text = delta["content"]
                message.text += text.removeprefix("\n\n") if new or not message.text else text
                message.reasoning += delta.get("reasoning_content", "")
                add_calls(message, ours.get("tool_calls", []))
    return heard


def agui(url: str, graph: str) -> Heard:
    """AG-UI."""
    heard = Heard()
    of: dict[str, str] = {}
    asked = {"id": "u1", "role": "user", "content": said(graph)}
    body = {"threadId": f"same-{graph}", "runId": "r", "messages": [asked]}
    with http_client.stream("POST", f"{url}/agui/{graph}", json=body) as answer:
        for _, data in frames(answer):
            kind = data["type"]
            about = data.get("metadata", {}).get("tokenweir", {})
            if kind in ("TEXT_MESSAGE_START", "REASONING_MESSAGE_START"):
                heard.of(data["messageId"].removesuffix(":reasoning"), about.get("tags"))
            elif kind == "TEXT_MESSAGE_CONTENT":
                heard.of(data["messageId"]).text += data["delta"]
            elif kind == "REASONING_MESSAGE_CONTENT":
                heard.of(data["messageId"].removesuffix(":reasoning")).reasoning += data["delta"]
            elif kind == "TOOL_CALL_START":
                of[data["toolCallId"]] = data["parentMessageId"]
                message = heard.of(data["parentMessageId"], about.get("tags"))
                message.calls[data["toolCallId"]] = [data["toolCallName"], ""]
            elif kind == "TOOL_CALL_ARGS":
                heard.of(of[data["toolCallId"]]).calls[data["toolCallId"]][1] += data["delta"]
            elif kind == "TOOL_CALL_RESULT":
                heard.results.append(data["content"])
            elif kind == "RUN_FINISHED":
                for usage in data["usage"]:
                    heard.count(usage, "inputTokens", "outputTokens")
    return heard


def ai_sdk(url: str, graph: str) -> Heard:
    """The AI SDK's UI message stream."""
    heard = Heard()
    of: dict[str, Message] = {}
    asked = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": said(graph)}]}
    body = {"id": f"chat-{graph}", "messages": [asked]}
    with http_client.stream("POST", f"{url}/ai/{graph}", json=body) as answer:
        for _, data in frames(answer):
            kind = data["type"]
            about = data.get("providerMetadata", {}).get("tokenweir", {})
            if kind in ("text-start", "reasoning-start"):
                of[data["id"]] = heard.of(about["message"], about.get("tags"))
            elif kind == "text-delta":
                of[data["id"]].text += data["delta"]
            elif kind == "reasoning-delta":
                of[data["id"]].reasoning += data["delta"]
            elif kind == "tool-input-available":
                call = [data["toolName"], json.dumps(data["input"])]
                heard.of(about["message"], about.get("tags")).calls[data["toolCallId"]] = call
            elif kind == "tool-output-available":
                heard.results.append(data["output"])
            elif kind == "finish":
                usage = data["messageMetadata"]["usage"]
                heard.count(usage, "input_tokens", "output_tokens")
    return heard


def event_protocol(url: str, graph: str) -> Heard:
    """LangGraph's event protocol."""
    heard = Heard()
    roles: dict[str, str] = {}
    thread = http_client.post(f"{url}/threads", json={}).json()["thread_id"]
    params = {"assistant_id": graph, "input": given(graph)}
    command = {"id": 1, "method": "run.start", "params": params}
    http_client.post(f"{url}/threads/{thread}/commands", json=command).raise_for_status()
    address = f"{url}/threads/{thread}/stream/events"
    body = {"channels": ["messages", "tools", "lifecycle"]}
    with http_client.stream("POST", address, json=body) as answer:
        for _, event in frames(answer):
            data, params = event["params"]["data"], event["params"]
            if event["method"] == "lifecycle":
                if not params["namespace"] and data["event"] in ("completed", "failed"):
                    break
                continue
            if event["method"] == "tools":
                if data["event"] == "tool-finished":
                    heard.results.append(data["output"]["content"])
                continue
            if data["event"] == "message-start":
                roles[data["id"]] = data["role"]
                if data["role"] == "ai":
                    heard.of(data["id"], data["metadata"].get("tags"))
                continue
            if data["event"] == "message-finish":
                heard.count(data.get("usage"), "input_tokens", "output_tokens")
            if data["event"] != "content-block-finish":
                continue
            block = data["content"]
            if roles[data["id"]] == "ai":
                message = heard.of(data["id"])
                message.text += block.get("text", "") if block["type"] == "text" else ""
                message.reasoning += block.get("reasoning", "")
                if block["type"] == "tool_call":
                    message.calls[data["index"]] = [block["name"], json.dumps(block["args"])]
    return heard


PROTOCOLS: dict[str, Callable[[str, str], Heard]] = {
    each.__name__: each for each in (langgraph, openai, agui, ai_sdk, event_protocol)
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A server of all ready graphs; what the model says depends on what it is asked alone."""
    with Provider() as provider:
        call = ToolCall("calculate", '{"expression": "6*7"}')
        calling = Reply("let me see", reasoning=["hm ", "well"], tool_calls=[call], usage="always")
        provider.on(lambda request: "tools" in request.body and request.prompt == ASKED, calling)
        provider.on(lambda request: True, Reply("one two  three", reasoning=["so"], usage="always"))
        server = Server([*GRAPHS], tmp_path_factory.mktemp("same"), provider.environ)
        try:
            assert server.url.startswith("http://"), server.stderr()
            yield Shared(server.url, provider)
        finally:
            server.close()


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_protocol_says_the_same(shared: Shared, graph: str) -> None:
    """Texts by tag, reasoning, tool calls with their results, and usage, in each ready graph."""
    expected = plain(shared.url, graph).shown()
    assert any(text for _, text, _, _ in expected["messages"])
    if graph == "agent":
        assert expected["results"]
    heard = {name: read(shared.url, graph).shown() for name, read in PROTOCOLS.items()}
    for name, each in heard.items():
        assert each == expected, name


@pytest.mark.parametrize("graph", ["chat", "agent"])
def test_what_is_said_is_the_state(shared: Shared, graph: str) -> None:
    """The state of a thread has the messages that its readers had."""
    heard = agui(shared.url, graph)
    values = http_client.get(f"{shared.url}/threads/same-{graph}/state").json()["values"]
    state = {each["id"]: each for each in values["messages"] if each["type"] == "ai"}
    for name, message in heard.messages.items():
        assert state[name]["content"] == message.text
        calls = [(call["name"], call["args"]) for call in state[name]["tool_calls"]]
        assert calls == message.shown()[3]
