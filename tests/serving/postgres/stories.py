"""What clients of each protocol do with servers of which any may be gone, and what must hold then.

A story starts a run at one server, reads it at others, cut off at random, and compares what it has
read with what the service keeps. It raises AssertionError if that is not the same.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias
from uuid import uuid4

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError

from tests import http_client
from tests.serving.conftest import Server
from tests.serving.event_protocol.test_cuts import Watcher
from tests.serving.running.test_resume import PlainReader, Reader, at_least
from tests.serving.test_front_end_cuts import Page

__all__ = ["STORIES", "Service", "Story"]

_PATIENCE = 200.0
"""Seconds after which a run has hung."""


class Service:
    """The servers, as a load balancer knows them.

    Attributes:
        servers: Those that are there; some may be gone, stopped, or without Postgres.
        answers: All that the model says.
        calm: Whether nothing has been done to it yet, so that nothing may be refused.
    """

    def __init__(self, servers: list[Server], answers: set[str]) -> None:
        self.servers = servers
        self.answers = answers
        self.calm = True
        self.progress = 0
        """How often somebody has come back, or finished."""

    def attempt(self, chance: random.Random, visit: Callable[[str], Any]) -> Any:
        """Call with servers' addresses until one of them gives something, and not None."""
        deadline, trouble = time.monotonic() + _PATIENCE, Counter[str]()
        while time.monotonic() < deadline:
            self.progress += 1
            try:
                found = visit(chance.choice(self.servers).url)
            except (httpx.HTTPStatusError, APIStatusError) as error:
                # Postgres is away, or that server does not know yet that it is back.
                if error.response.status_code != 503 or self.calm:
                    raise
                trouble["503"] += 1
            except httpx.TransportError as error:
                if self.calm:
                    raise
                trouble[repr(error)] += 1
            else:
                if found is not None:
                    return found
        raise AssertionError(f"a run has hung; on the way to it: {dict(trouble)}")

    def ask(self, chance: random.Random, method: str, path: str, body: Any = None) -> Any:
        """The answer of any server to what may be asked twice."""

        def visit(url: str) -> Any:
            address = f"{url}{path}"
            answer = http_client.request(method, address, json=body)
            if answer.status_code in (404, 409) and method == "POST":
                return answer  # it was done at the first time, or too late
            return answer.raise_for_status()

        return self.attempt(chance, visit).json()

    def start(self, chance: random.Random, graph: str, thread: str, **more: Any) -> dict[str, Any]:
        """Start a run, once, though the answer may be lost."""
        key = uuid4().hex
        body = {
            "assistant_id": graph,
            "metadata": {"key": key},
            "if_not_exists": "create",
            "stream_mode": ["messages-tuple", "values"],
            "stream_subgraphs": True,
            **more,
        }
        place = f"/threads/{thread}/runs"

        def visit(url: str) -> Any:
            there = http_client.get(f"{url}{place}")
            if there.status_code != 404:
                for run in there.raise_for_status().json():
                    if run["metadata"].get("key") == key:
                        return run
            answer = http_client.post(f"{url}{place}", json=body)
            return answer.raise_for_status().json()

        return dict(self.attempt(chance, visit))

    def values(self, chance: random.Random, thread: str) -> Any:
        """The state of a thread."""
        return self.ask(chance, "GET", f"/threads/{thread}/state")["values"]

    def read(self, chance: random.Random, reader: Reader) -> None:
        """Read a run to its end, at servers here and there."""

        def visit(url: str) -> Any:
            reader.url = url
            enough = len(reader.ids) + chance.randint(20, 100)
            return (reader.read(at_least(reader, enough)) and reader.over()) or None

        self.attempt(chance, visit)
        assert reader.ids == sorted(set(reader.ids))

    def status(self, chance: random.Random, run: dict[str, Any]) -> str:
        path = f"/threads/{run['thread_id']}/runs/{run['run_id']}"
        return str(self.ask(chance, "GET", path)["status"])


Story: TypeAlias = Callable[[Service, random.Random], None]


def _steps(service: Service, chance: random.Random, graph: str, kind: type[Reader]) -> None:
    thread = str(uuid4())
    run = service.start(chance, graph, thread, input={"topic": "x"})
    reader = kind("", run)
    service.read(chance, reader)
    assert service.status(chance, run) == "success"
    state = service.values(chance, thread)
    assert reader.said() == [state["first"], state["second"]]
    assert set(reader.said()) <= service.answers
    anew = kind("", run)
    service.read(chance, anew)
    assert anew.said() == reader.said()


def langgraph_events(service: Service, chance: random.Random) -> None:
    """LangGraph's API, a graph in a graph."""
    _steps(service, chance, "nested", Reader)


def plain_events(service: Service, chance: random.Random) -> None:
    """The plain server-sent events."""
    _steps(service, chance, "two_steps", PlainReader)


class _Balancer(httpx.AsyncHTTPTransport):
    """Sends each request to any of the servers, as a load balancer does."""

    def __init__(self, service: Service, chance: random.Random) -> None:
        super().__init__(verify=False)  # it is plain HTTP
        self._service, self._chance = service, chance

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        there = httpx.URL(self._chance.choice(self._service.servers).url)
        request.url = request.url.copy_with(host=there.host, port=there.port)
        return await super().handle_async_request(request)


def _behind_a_balancer(service: Service, chance: random.Random) -> LangGraphClient:
    """LangGraph's client, which comes back by itself: to the same address, five times at most."""
    transport = _Balancer(service, chance)
    return LangGraphClient(
        httpx.AsyncClient(base_url="http://127.0.0.1:1", transport=transport, timeout=20)
    )


def langgraph_sdk(service: Service, chance: random.Random) -> None:
    """LangGraph's own client, a node that runs several times at once."""
    thread = str(uuid4())
    given = {"topics": ["a", "b", "c"]}
    run = service.start(chance, "fans", thread, input=given)
    texts, ids = dict[str, str](), list[str]()

    async def read() -> bool:
        left = chance.randint(40, 200)
        client = _behind_a_balancer(service, chance)
        try:
            async for part in client.runs.join_stream(
                thread, run["run_id"], last_event_id=ids[-1] if ids else "-1"
            ):
                if part.id is not None:
                    ids.append(part.id)
                if part.event == "messages":
                    message = part.data[0]
                    if message["type"] == "remove":
                        texts.pop(message["id"])
                    else:
                        texts[message["id"]] = texts.get(message["id"], "") + message["content"]
                left -= 1
                if not left:
                    return False
        finally:
            await client.http.client.aclose()
        return True

    def visit(_: str) -> Any:
        return asyncio.run(read()) or None

    service.attempt(chance, visit)
    while service.status(chance, run) in ("pending", "running"):
        service.attempt(chance, visit)
    assert ids == sorted(set(ids), key=int)
    assert sorted(texts.values()) == sorted(service.values(chance, thread)["texts"])
    assert set(texts.values()) <= service.answers


def event_protocol(service: Service, chance: random.Random) -> None:
    """LangGraph's event protocol, two runs of a thread."""
    thread = str(uuid4())
    service.start(chance, "nested", thread, input={"topic": "x"})
    run = service.start(chance, "nested", thread, input={"topic": "x"})
    watcher, whole = Watcher("", thread, since=0), Watcher("", thread, since=0)

    def visit(url: str, watcher: Watcher) -> Any:
        watcher.url = url
        enough = len(watcher.numbers) + chance.randint(20, 100)
        watcher.read(lambda: watcher.ends == 2 or len(watcher.numbers) >= enough)
        return watcher.ends == 2 or None

    service.attempt(chance, lambda url: visit(url, watcher))
    service.attempt(chance, lambda url: visit(url, whole))
    assert service.status(chance, run) == "success"
    # What a killed server had not written only its readers have seen, as a part of what was void.
    assert set(whole.numbers) <= set(watcher.numbers)
    for numbers in (whole.numbers, watcher.numbers):
        assert numbers == sorted(set(numbers))
    assert watcher.said() == whole.said()
    assert set(watcher.said()) <= service.answers
    assert len(watcher.said()) == 4
    state = service.values(chance, thread)
    assert watcher.said()[2:] == [state["first"], state["second"]]


def _page(service: Service, chance: random.Random, protocol: str, graph: str) -> None:
    thread, page = uuid4().hex, Page()
    take = getattr(page, protocol)
    path = f"/{protocol.partition('_')[0]}/{graph}"
    if protocol == "agui":
        said: dict[str, Any] = {"id": "u1", "role": "user", "content": "cats"}
        body: dict[str, Any] = {"threadId": thread, "messages": [said]}
        again, how = ("POST", f"{path}/connect?on_disconnect=continue"), {"json": body}
    else:
        said = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "cats"}]}
        body = {"id": thread, "messages": [said]}
        again, how = ("GET", f"{path}/{thread}/stream?on_disconnect=continue"), {}

    def visit(url: str) -> Any:
        # A start whose answer was lost is not made twice.
        there = http_client.get(f"{url}/threads/{thread}/runs")
        begun = there.status_code != 404 and there.raise_for_status().json()
        method, where = again if begun else ("POST", f"{path}?on_disconnect=continue")
        given = how if begun else {"json": body}
        most = chance.choice([chance.randint(20, 150), None])  # each time from the beginning
        there_is_more = page.read(take, most, method, f"{url}{where}", **given)
        return page.over or not there_is_more or None

    service.attempt(chance, visit)
    if not page.over:
        return  # the end was told on a connection that broke: such a page asks for the state
    assert set(page.texts.values()) <= service.answers
    state = service.values(chance, thread)
    if graph == "chat":
        assert list(page.texts.values()) == [state["messages"][-1]["content"]]
    else:
        assert sorted(page.texts.values()) == sorted([state["joke"], state["poem"]])


def agui(service: Service, chance: random.Random) -> None:
    """AG-UI, a graph with messages."""
    _page(service, chance, "agui", "chat")


def ai_sdk(service: Service, chance: random.Random) -> None:
    """The AI SDK's stream, two nodes at once."""
    _page(service, chance, "ai_sdk", "joke_poem_parallel")


def openai(service: Service, chance: random.Random) -> None:
    """OpenAI's protocol, an agent with a tool; who is cut off asks again."""
    body = {"model": "agent", "messages": [{"role": "user", "content": "sum"}], "stream": True}

    def visit(url: str) -> Any:
        texts = dict[str, str]()
        address = f"{url}/v1/chat/completions"
        left = chance.choice([30, 10_000])
        with http_client.stream("POST", address, json=body) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                if line == "data: [DONE]":
                    return texts
                left -= 1
                if not left:
                    return None
                chunk = json.loads(line[6:]) if line.startswith("data: ") else {}
                assert "error" not in chunk, chunk
                about = chunk.get("tokenweir", {})
                for gone in [about["remove"]] if "remove" in about else []:
                    texts.pop(gone, None)
                for choice in chunk.get("choices", ()):
                    if (text := choice["delta"].get("content")) and "id" in about:
                        texts[about["id"]] = texts.get(about["id"], "") + text
        raise httpx.ReadError("it ended without an end")

    texts = service.attempt(chance, visit)
    assert {text.strip("\n") for text in texts.values() if text.strip("\n")} <= service.answers
    assert len(texts) == 2


def interrupt(service: Service, chance: random.Random) -> None:
    """A run asks, and its question is answered at another server."""
    thread = str(uuid4())
    run = service.start(chance, "answers", thread, input={"topic": "x"})
    first = Reader("", run)
    service.read(chance, first)
    assert service.status(chance, run) == "interrupted"
    more = service.start(chance, "answers", thread, command={"resume": "that"})
    second = Reader("", more)
    service.read(chance, second)
    assert service.status(chance, more) == "success"
    state = service.values(chance, thread)
    assert state["answer"] == "that"
    assert first.said() + second.said() == [state["first"], state["second"]]
    assert {state["first"], state["second"]} <= service.answers


def cancel(service: Service, chance: random.Random) -> None:
    """A run is stopped at another server in the middle; its thread keeps what was shown."""
    thread = str(uuid4())
    said = {"messages": [{"role": "user", "content": "cats"}]}
    run = service.start(chance, "chat", thread, input=said)
    reader = Reader("", run)

    def visit(url: str) -> Any:
        reader.url = url
        return reader.read(at_least(reader, 30)) or len(reader.ids) >= 30 or None

    service.attempt(chance, visit)
    service.ask(chance, "POST", f"/threads/{thread}/runs/{run['run_id']}/cancel?wait=true")
    service.read(chance, reader)
    assert service.status(chance, run) in ("interrupted", "success")
    shown = [each["content"] for each in service.values(chance, thread)["messages"][1:]]
    anew = Reader("", run)
    service.read(chance, anew)
    assert reader.said() == anew.said() == shown


def rollback(service: Service, chance: random.Random) -> None:
    """A run displaces the one before it, of which nothing stays."""
    thread = str(uuid4())
    run = service.start(chance, "two_steps", thread, input={"topic": "x"})
    reader = Reader("", run)

    def visit(url: str) -> Any:
        reader.url = url
        return reader.read(at_least(reader, 30)) or len(reader.ids) >= 30 or None

    service.attempt(chance, visit)
    how = {"input": {"topic": "x"}, "multitask_strategy": "rollback"}
    instead = service.start(chance, "two_steps", thread, **how)
    second = Reader("", instead)
    service.read(chance, second)
    assert service.status(chance, instead) == "success"
    state = service.values(chance, thread)
    assert second.said() == [state["first"], state["second"]]
    assert set(second.said()) <= service.answers
    there = service.ask(chance, "GET", f"/threads/{thread}/runs")
    # Unless it was over before it could be displaced.
    assert {each["status"] for each in there} == {"success"}
    assert instead["run_id"] in [each["run_id"] for each in there]


STORIES: tuple[Story, ...] = (
    langgraph_events,
    plain_events,
    langgraph_sdk,
    event_protocol,
    agui,
    ai_sdk,
    openai,
    interrupt,
    cancel,
    rollback,
)
