"""Who joins late and asks for that has what was there added up: equal to every event, and once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessageChunk
from websockets.sync.client import connect

from tests import http_client
from tests.serving.event_protocol.test_cuts import Watcher, command
from tests.serving.event_protocol.test_several import (
    TWO_STEPS,
    database_url,
    held_in_the_middle,
    postgres,
)
from tests.serving.running.test_compaction import said
from tokenweir.serving.event_protocol.frames import RunFrames
from tokenweir.serving.event_protocol.numbers import event_of
from tokenweir.serving.event_protocol.subscription import CHANNELS, Subscription
from tokenweir.serving.log.events import END, Envelope, Event, Kept
from tokenweir.serving.running.encoding import TokenEncoder, encode
from tokenweir.serving.running.records import Run, RunRequest
from tokenweir.testing import Provider, Reply, ToolCall

__all__ = ["database_url", "postgres"]

RUN = Run(
    id="run",
    thread_id="thread",
    assistant_id="a",
    turn=3,
    request=RunRequest(graph="g", modes=["messages", "values", "checkpoints"]),
)
SAMPLES = Path(__file__).parents[1] / "sample_graphs.py"


def as_text(method: str, number: int, document: bytes) -> bytes:
    """An event as its JSON alone."""
    return document


WORDS = [f" w{number}" for number in range(120)]


def record_of(seed: int) -> tuple[list[Event], dict[int, Envelope]]:
    """A generated run, to its end or not: tokens, tools, reasoning, retractions, states."""
    chance, known, events = random.Random(seed), dict[int, Envelope](), list[Event]()

    def add(kind: str, body: bytes, envelope: Envelope | None = None) -> None:
        number = (events[-1].id if events else 0) + chance.choice([1, 1, 1, 4])
        event = Event(number, kind, body, envelope)
        if envelope is not None and not envelope.id:
            envelope.id = event.id
            known[event.id] = envelope
        events.append(event)

    for kind, body, envelope in said(seed):
        add(kind, body, envelope)
        if chance.random() < 0.1:
            place = chance.choice(["", "|a:1"])
            add(f"values{place}", encode({"n": len(events)}))
            if chance.random() < 0.7:
                add(f"checkpoints{place}", encode({"config": {}, "metadata": {"step": 1}}))
        if chance.random() < 0.05:
            add("tasks", encode({"id": "1", "name": "write", "result": {}}))
    if chance.random() < 0.5:
        add(END, encode({"status": chance.choice(["success", "error", "interrupted"])}))
    return events, known


class Client:
    """What somebody has who adds up what he is sent."""

    def __init__(self) -> None:
        self.messages: dict[str, Any] = {}
        self.rest: list[Any] = []
        self.since: int | None = None
        self.numbers: list[int] = []

    def take(self, document: bytes | str) -> None:
        event = json.loads(document)
        self.since = event["seq"]
        self.numbers.append(event["seq"])
        params = event["params"]
        if event["method"] != "messages":
            return self.rest.append((event["method"], params["namespace"], params["data"]))
        data = params["data"]
        name, kind, place = data["id"], data["event"], (params["namespace"], params.get("node"))
        if kind == "message-start":
            self.messages[name] = {"start": data, "place": place, "blocks": {}}
            return None
        message = self.messages.get(name)
        if data.get("code") == "retracted":
            self.messages.pop(name, None)
        elif message is None:  # the blocks of one that is void, and was not told
            assert (kind, data["content"]) == ("content-block-finish", {"type": "text", "text": ""})
        elif kind == "content-block-start":
            assert message["place"] == place
            message["blocks"][data["index"]] = data["content"]
        elif kind == "content-block-delta":
            _grow(message["blocks"][data["index"]], data["delta"])
        elif kind == "content-block-finish":
            message["blocks"][data["index"]] = data["content"]
        else:
            message["end"] = data
        return None

    @property
    def over(self) -> bool:
        """Whether the run that is read is."""
        return (
            bool(self.rest)
            and (self.rest[-1][0], self.rest[-1][1]) == ("lifecycle", [])
            and (self.rest[-1][2]["event"] == "completed")
        )

    @property
    def has(self) -> Any:
        return self.messages, self.rest


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if delta["type"] == "block-delta":
        block.update(delta["fields"])
    else:
        key = delta["type"].partition("-")[0]
        block[key] += delta[key]


def read(
    client: Client,
    chance: random.Random,
    events: Sequence[Event],
    known: dict[int, Envelope],
    *,
    replay: str,
    enough: float,
) -> None:
    """One connection: joins where the record ends now, or goes on; cut off after some events."""
    frames = RunFrames(
        RUN, Subscription(CHANNELS), client.since or 0, as_text, compact=replay == "compact"
    )
    told = sum(event.id <= event_of(client.since or 0) for event in events)
    there = chance.randint(told, len(events))
    last = events[there - 1].id if there else 0
    upto = last if frames.upto is None else frames.upto
    before = [event for event in events if event.id <= upto]
    cut = chance.randint(0, len(before))
    stored = [Kept(e.id, e.kind, e.body, e.envelope.id if e.envelope else 0) for e in before[:cut]]
    frames.take(stored, known.__getitem__)
    frames.take(before[cut:])
    documents = frames.taken()
    for event in events:
        if event.id > frames.last:
            documents += frames.encode([event])
    for document in documents[: int(len(documents) * enough)]:
        client.take(document)


def test_the_sum_is_the_same_however_often_it_is_cut_off() -> None:
    """Of generated runs, joined anywhere, cut off anywhere, in the sum and behind it."""
    for seed in range(300):
        chance, (events, known) = random.Random(seed), record_of(seed)
        whole, late = Client(), Client()
        read(whole, chance, events, known, replay="full", enough=1)
        for _ in range(chance.randint(0, 4)):
            read(late, chance, events, known, replay="compact", enough=chance.random())
        read(late, chance, events, known, replay="compact", enough=1)
        assert late.has == whole.has, seed
        assert late.numbers == sorted(set(late.numbers)), seed


def test_what_is_told_later_has_greater_numbers() -> None:
    """Also values that wait for their checkpoint, in whatever portions a run's record is read."""
    for seed in range(100):
        chance, (events, _) = random.Random(seed), record_of(seed)
        frames = RunFrames(RUN, Subscription(CHANNELS), 0, as_text, compact=seed % 2 == 0)
        before = chance.randint(0, len(events))
        frames.take(events[:before])
        frames.taken()
        while events[before:]:
            watermark, portion = frames.watermark, events[before : before + chance.randint(1, 3)]
            before += len(portion)
            numbers = [json.loads(each)["seq"] for each in frames.encode(portion)]
            assert all(number > watermark for number in numbers), seed
        if events and events[-1].kind == END:
            assert event_of(frames.watermark) == events[-1].id


def test_one_piece_for_each_block() -> None:
    """Finished or growing: begun, all of its text, and the end if it has one."""
    events, known = record_of(4)
    frames = RunFrames(RUN, Subscription(["messages"]), 0, as_text, compact=True)
    frames.take(events, known.__getitem__)
    told = [json.loads(each)["params"]["data"] for each in frames.taken()]
    deltas = [(each["id"], each["index"]) for each in told if "delta" in each]
    starts = [each["id"] for each in told if each["event"] == "message-start"]
    assert len(deltas) == len(set(deltas)) > 0
    assert len(starts) == len(set(starts)) > 0


def test_cut_off_at_random(serve: Callable[..., Any], provider: Provider) -> None:
    """Readers who come while a thread's runs go on, and are cut off, have all of it once."""
    provider.on("first", Reply(tokens=WORDS, every=0.004))
    provider.on("second", Reply(tokens=WORDS[::-1], every=0.004))
    server, thread_id = serve("sample:nested"), str(uuid4())
    command(server.url, thread_id, "nested", topic="x")
    chance, late = random.Random(7), list[Watcher]()
    live = Watcher(server.url, thread_id)
    while live.ends < 1:
        enough = len(live.numbers) + 25
        live.read(lambda: live.ends > 0 or len(live.numbers) >= enough)  # noqa: B023 - read at once
        late.append(Watcher(server.url, thread_id, replay="compact"))
        for watcher in late:
            few = len(watcher.numbers) + chance.randint(1, 12)
            watcher.read(lambda: watcher.ends > 0 or len(watcher.numbers) >= few)  # noqa: B023
    for watcher in [live, *late]:
        if not watcher.ends:
            watcher.read(lambda: watcher.ends == 1)  # noqa: B023 - read at once
        assert watcher.said() == ["".join(WORDS), "".join(WORDS[::-1])]
        assert watcher.numbers == sorted(set(watcher.numbers))
        assert watcher.finished == set(watcher.texts)
    assert late[-1].deltas == 2 < late[0].deltas < live.deltas


@pytest.mark.parametrize("graph", ["two_steps", "nested"])
def test_a_killed_server(serve: Callable[..., Any], provider: Provider, graph: str) -> None:
    """After kill -9 a late reader goes on, in its sum or behind it; a later one is told nothing of
    what is void."""
    provider.on("first", "the first")
    provider.on("second", Reply("cut off here", hold_after=2), "the second")
    server, thread_id = serve("sample:two_steps", "sample:nested"), str(uuid4())
    command(server.url, thread_id, graph, topic="x")
    live = Watcher(server.url, thread_id)
    live.read(lambda: "cut off" in live.said())
    inside, behind = (Watcher(server.url, thread_id, replay="compact") for _ in range(2))
    inside.read(lambda: "the first" in inside.said())
    behind.read(lambda: "cut off" in behind.said())
    assert (inside.deltas, behind.deltas) == (1, 2)
    server.kill()
    server = serve("sample:two_steps", "sample:nested")
    later = Watcher(server.url, thread_id, replay="compact")
    for watcher in (inside, behind, later):
        watcher.url = server.url
        watcher.read(lambda: watcher.ends == 1)  # noqa: B023 - read at once
        assert watcher.said() == ["the first", "the second"]
        assert watcher.numbers == sorted(set(watcher.numbers))
        assert watcher.values["second"] == "the second"
    assert (behind.retracted, later.retracted) == (1, 0)


def test_a_run_that_is_taken_over(
    serve: Callable[..., Any], provider: Provider, database_url: str
) -> None:
    """Who joined late at another server goes on when the one that held the run is killed."""
    thread_id = str(uuid4())
    serve_one = partial(serve, *TWO_STEPS, database_url)
    here, there = held_in_the_middle(serve_one, provider, thread_id)
    live = Watcher(there.url, thread_id)
    live.read(lambda: "cut off" in live.said())
    late = Watcher(there.url, thread_id, replay="compact")
    late.read(lambda: "cut off" in late.said())
    assert late.deltas == 2
    here.kill()
    late.read(lambda: late.ends == 1)
    assert late.said() == ["the first", "the second"]
    assert late.retracted == 1


def test_tools_and_reasoning(serve: Callable[..., Any], provider: Provider) -> None:
    """An agent's calls, results and thoughts are what every event says, over SSE and WebSockets."""
    call = ToolCall("calculate", '{"expression": "6*7"}')
    provider.on("x", Reply(reasoning=["well ", "so"], tool_calls=[call]), Reply("it is 42"))
    server, thread_id = serve(f"agent={SAMPLES}:tagged_agent"), str(uuid4())
    command(server.url, thread_id, "agent", messages=[{"role": "user", "content": "x"}])
    asked = {"channels": list(CHANNELS)}
    whole, late, over = Client(), Client(), Client()
    address = f"{server.url}/threads/{thread_id}/stream/events"
    for client, replay in ((whole, "full"), (late, "compact")):
        body = {**asked, "replay": replay}
        with http_client.stream("POST", address, json=body) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    client.take(line[6:])
                    if client.over:
                        break
    assert late.has == whole.has
    assert len(late.numbers) < len(whole.numbers)
    blocks = [block["type"] for each in late.messages.values() for block in each["blocks"].values()]
    assert blocks == ["reasoning", "tool_call", "text"]
    params = {**asked, "replay": "compact"}
    with connect(address.replace("http", "ws", 1)) as socket:
        socket.send(json.dumps({"id": 1, "method": "subscription.subscribe", "params": params}))
        while len(over.numbers) < len(late.numbers):
            document = socket.recv(60)
            if json.loads(document)["type"] == "event":
                over.take(document)
    assert (over.has, over.numbers) == (late.has, late.numbers)


def test_a_hundred_thousand_tokens_are_few_bytes() -> None:
    """What is sent is hardly more than the text."""
    encoder, metadata = TokenEncoder(), dict[str, Any]()
    frames = RunFrames(RUN, Subscription(CHANNELS), 0, compact=True)
    texts, events = [f" word{number % 97}" for number in range(100_000)], list[Event]()
    for number, text in enumerate(texts, 1):
        chunk = AIMessageChunk(content=text, id=f"m{number % 3}")
        events.append(Event(number, "messages", *encoder.encode("messages", chunk, metadata)))
    frames.take(events)
    written = frames.taken()
    assert len(written) == 9
    assert sum(map(len, written)) < len("".join(texts)) + 4000


@pytest.mark.parametrize("compact", [False, True])
def test_a_call_that_the_provider_carries_out_stays_one(compact: bool) -> None:
    """Its arguments come from their beginning, in a block of its type."""
    call = {"type": "server_tool_call_chunk", "index": 0, "id": "c", "name": "search", "args": "{"}
    message = {"type": "AIMessageChunk", "id": "m", "content": [call]}
    frames = RunFrames(RUN, Subscription(["messages"]), 0, as_text, compact=compact)
    event = Event(1, "messages", encode([message, {}]))
    if compact:
        frames.take([event])
    told = frames.taken() if compact else frames.encode([event])
    [delta] = [json.loads(each)["params"]["data"].get("delta") for each in told][2:]
    assert delta["type"] == "block-delta"
    assert (delta["fields"]["type"], delta["fields"]["args"]) == ("server_tool_call_chunk", "{")
