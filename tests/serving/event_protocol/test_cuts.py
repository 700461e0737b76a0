"""Connections that are cut, servers that are killed: the text of the event protocol is exact."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_client

from tests import http_client
from tokenweir.testing import Provider, Reply

Until = Callable[[], bool]


class Watcher:
    """Reads a thread's events, adds up texts by message, comes back with the last number it has."""

    def __init__(
        self, url: str, thread_id: str, since: int | None = None, replay: str = "full"
    ) -> None:
        self.url = url
        self.replay = replay
        self.deltas = 0
        self.thread_id = thread_id
        self.since = since
        self.texts: dict[str, str] = {}
        self.begun: set[tuple[str, int]] = set()
        """Blocks: their message and their place in it."""
        self.finished: set[str] = set()
        self.numbers: list[int] = []
        self.ends = 0
        self.values: Any = None
        self.retracted = 0

    def read(self, until: Until) -> None:
        """Read until it is enough; the stream itself does not end.

        Raises httpx.TransportError if the stream is cut, httpx.HTTPStatusError if it is refused.
        """
        body: dict[str, Any] = {"channels": ["messages", "values", "lifecycle"]}
        body["replay"] = self.replay
        if self.since is not None:
            body["since"] = self.since
        address = f"{self.url}/threads/{self.thread_id}/stream/events"
        with http_client.stream("POST", address, json=body) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    self.take(json.loads(line[6:]))
                    if until():
                        return

    def take(self, event: Any) -> None:
        self.since = event["seq"]
        self.numbers.append(event["seq"])
        data, method = event["params"]["data"], event["method"]
        if method == "values" and not event["params"]["namespace"]:
            self.values = data
        elif method == "lifecycle" and not event["params"]["namespace"]:
            self.ends += data["event"] in ("completed", "failed")
        elif method == "messages":
            message, kind = data["id"], data["event"]
            if kind == "message-start":
                assert message not in self.texts
                self.texts[message] = ""
            elif kind == "content-block-start":
                self.begun.add((message, data["index"]))
            elif kind == "content-block-delta":
                self.texts[message] += data["delta"]["text"]
                self.deltas += 1
            elif kind == "content-block-finish":
                assert data["content"]["text"] in ("", self.texts[message])
                self.texts[message] = data["content"]["text"]
            elif kind == "error" and data["code"] == "retracted":
                # Clients that do not know the code have nothing left of the message, either.
                self.retracted += 1
                assert self.texts.pop(message) == ""
            elif kind == "message-finish":
                self.finished.add(message)

    def said(self) -> list[str]:
        return list(self.texts.values())


def has_more(watcher: Watcher, count: int) -> Until:
    """Whether a reader has so many events more than now, or both runs' ends."""
    enough = len(watcher.numbers) + count
    return lambda: watcher.ends == 2 or len(watcher.numbers) >= enough


def command(url: str, thread_id: str, graph: str, **given: Any) -> dict[str, Any]:
    """Start a run by the protocol's command; its answer."""
    params = {"assistant_id": graph, "input": given}
    body = {"id": 1, "method": "run.start", "params": params}
    answer = http_client.post(f"{url}/threads/{thread_id}/commands", json=body).json()
    assert answer["type"] == "success", answer
    return dict(answer)


def test_cuts_at_random_lose_nothing(serve: Callable[..., Any], provider: Provider) -> None:
    """Over two runs of a thread readers that are cut again and again get each event once."""
    words = [f" w{number}" for number in range(120)]
    provider.on("first", Reply(tokens=words, every=0.004))
    provider.on("second", Reply(tokens=words[::-1], every=0.004))
    server, thread_id = serve("sample:nested"), str(uuid4())
    for _ in range(2):
        command(server.url, thread_id, "nested", topic="x")
    errors: list[BaseException] = []

    def follow(watcher: Watcher, chance: random.Random) -> None:
        try:
            while watcher.ends < 2:
                watcher.read(has_more(watcher, chance.randint(1, 90)))
        except BaseException as error:  # noqa: BLE001 - the test itself raises it
            errors.append(error)

    watchers = [Watcher(server.url, thread_id, since=0) for _ in range(6)]
    threads = [
        threading.Thread(target=follow, args=(watcher, random.Random(seed)))
        for seed, watcher in enumerate(watchers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert errors == []
    whole = Watcher(server.url, thread_id, since=0)
    whole.read(lambda: whole.ends == 2)
    for watcher in watchers:
        assert watcher.said() == ["".join(words), "".join(words[::-1])] * 2
        assert watcher.numbers == whole.numbers == sorted(set(whole.numbers))
        assert watcher.finished == set(watcher.texts)
        assert watcher.values["second"] == "".join(words[::-1])


@pytest.mark.parametrize("graph", ["two_steps", "nested"])
async def test_a_killed_server_goes_on(
    serve: Callable[..., Any], provider: Provider, graph: str
) -> None:
    """After kill -9 a reader goes on with the next server; the cut-off message is taken back."""
    provider.on("first", "the first")
    provider.on("second", Reply("cut off here", hold_after=2), "the second")
    server, thread_id = serve("sample:two_steps", "sample:nested"), str(uuid4())
    command(server.url, thread_id, graph, topic="x")
    cut, late = Watcher(server.url, thread_id), Watcher(server.url, thread_id)
    for watcher in (cut, late):
        watcher.read(lambda: "cut off" in watcher.said())  # noqa: B023 - read at once
    server.kill()
    server = serve("sample:two_steps", "sample:nested")
    cut.url = late.url = server.url
    cut.read(lambda: cut.ends == 1)
    late.read(lambda: late.ends == 1)
    for watcher in (cut, late):
        assert watcher.said() == ["the first", "the second"]
        assert watcher.numbers == sorted(set(watcher.numbers))
        assert watcher.retracted == 1
        assert watcher.values["second"] == "the second"
    whole = Watcher(server.url, thread_id, since=0)
    whole.read(lambda: whole.ends == 1)
    assert (whole.said(), whole.begun) == (cut.said(), cut.begun)
    assert set(whole.numbers) <= set(cut.numbers)  # who saw tokens that the kill took has more
    client = get_client(url=server.url)
    async with client.threads.stream(thread_id, assistant_id=graph) as thread:
        await thread.run.start(input={"topic": "x"})
        assert (await thread.output)["second"] == "the second"
    await client.http.client.aclose()
    more = Watcher(server.url, thread_id, since=cut.since)
    more.read(lambda: more.ends == 1)
    assert more.numbers[0] > cut.numbers[-1]
    assert more.said() == ["the first", "the second"]


def test_a_server_that_stops_cuts_its_readers_off(
    serve: Callable[..., Any], provider: Provider
) -> None:
    """A stream that ends with its server looks like a cut, so that clients come back."""
    provider.on("first", "one")
    provider.on("second", "two")
    server, thread_id = serve("sample:two_steps"), str(uuid4())
    command(server.url, thread_id, "two_steps", topic="x")
    watcher = Watcher(server.url, thread_id)
    watcher.read(lambda: watcher.ends == 1)
    ended: list[BaseException | None] = []

    def wait() -> None:
        try:
            watcher.read(lambda: False)
            ended.append(None)
        except httpx.TransportError as error:
            ended.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert server.terminate() == 0
    waiting.join(60)
    assert isinstance(ended[0], httpx.TransportError)
