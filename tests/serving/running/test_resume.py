"""What outlives what: runs their connections, records their process, the text every cut."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import http_client
from tests.waiting import wait_until
from tokenweir.testing import Provider, Reply

RUNS = 50
KILLS = 5


class Reader:
    """Reads a run's stream of ``messages``, adds up its texts by id, comes back after cuts."""

    def __init__(self, url: str, run: dict[str, Any]) -> None:
        self.url = url
        self.path = f"/threads/{run['thread_id']}/runs/{run['run_id']}"
        self.stream = f"{self.path}/stream"
        self.last = "-1"
        self.texts: dict[str, str] = {}
        self.events: list[tuple[str, Any]] = []
        self.ids: list[Any] = []
        self.connected = threading.Event()

    def read(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Read to the stream's end, or until it is enough; whether it came to its end.

        Raises httpx.TransportError if the stream is cut, httpx.HTTPStatusError if it is refused.
        """
        with http_client.stream(
            "GET",
            f"{self.url}{self.stream}",
            headers={"last-event-id": self.last} if self.last else {},
        ) as answer:
            if answer.status_code == 204:  # a plain reader that has the end already
                return True
            answer.raise_for_status()
            self.connected.set()
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if not line:
                    if "data" in fields:
                        self.take(fields)
                    fields = {}
                    if until():
                        return False
                elif not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
        return True

    def take(self, fields: dict[str, str]) -> None:
        self.last = fields["id"]
        self.ids.append(int(self.last))
        data = json.loads(fields["data"])
        self.events.append((fields["event"], data))
        if fields["event"].partition("|")[0] == "messages":
            message = data[0]
            if message["type"] == "remove":
                self.texts.pop(message["id"])
            else:
                self.texts[message["id"]] = self.texts.get(message["id"], "") + message["content"]

    def over(self) -> bool:
        """Whether the run itself has ended, not only the connection."""
        answer = http_client.get(f"{self.url}{self.path}").raise_for_status()
        return answer.json()["status"] not in ("pending", "running")

    def said(self) -> list[str]:
        return list(self.texts.values())


@contextlib.contextmanager
def in_background(*readers: Reader) -> Iterator[None]:
    """Readers that are connected, and read to the end of their stream while something happens."""
    threads = [threading.Thread(target=reader.read) for reader in readers]
    for thread in threads:
        thread.start()
    for reader in readers:
        assert reader.connected.wait(60)
    yield
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def at_least(reader: Reader, count: int) -> Callable[[], bool]:
    """Whether a reader has so many events."""
    return lambda: len(reader.ids) >= count


def start(url: str, graph: str, **more: Any) -> dict[str, Any]:
    """Start a run in the background on a thread of its own."""
    body = {"assistant_id": graph, "input": {"topic": "x"}, "stream_mode": "messages-tuple"}
    thread = http_client.post(f"{url}/threads", json={}).json()["thread_id"]
    answer = http_client.post(f"{url}/threads/{thread}/runs", json={**body, **more})
    assert answer.status_code == 200, answer.text
    run: dict[str, Any] = answer.json()
    return run


def joined(url: str, run: dict[str, Any]) -> Any:
    place = f"{url}/threads/{run['thread_id']}/runs/{run['run_id']}"
    return http_client.get(f"{place}/join").json()


def test_cuts_at_random_lose_nothing(serve: Callable[..., Any], provider: Provider) -> None:
    """Readers whose connections are cut again and again get every token once, in order."""
    words = [f" w{number}" for number in range(150)]
    provider.on("first", Reply(tokens=words, every=0.004))
    provider.on("second", Reply(tokens=words[::-1], every=0.004))
    server = serve("sample:two_steps")
    run = start(server.url, "two_steps")
    expected = ["".join(words), "".join(words[::-1])]

    def follow(reader: Reader, chance: random.Random) -> None:
        ended = False
        while not ended:
            ended = reader.read(at_least(reader, len(reader.ids) + chance.randint(1, 80)))

    readers = [Reader(server.url, run) for _ in range(6)]
    threads = [
        threading.Thread(target=follow, args=(reader, random.Random(seed)))
        for seed, reader in enumerate(readers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for reader in readers:
        assert reader.said() == expected
        assert reader.ids == sorted(set(reader.ids))
    assert joined(server.url, run)["second"] == expected[1]


@pytest.mark.parametrize("graph", ["two_steps", "nested"])
def test_a_killed_server_goes_on(serve: Callable[..., Any], provider: Provider, graph: str) -> None:
    """After kill -9 the run goes on behind its last checkpoint; the cut-off message is void."""
    provider.on("first", "the first")
    provider.on("second", Reply("cut off here", hold_after=2), "the second")
    server = serve("sample:two_steps", "sample:nested")
    run = start(server.url, graph, stream_subgraphs=True)
    cut = Reader(server.url, run)
    cut.read(lambda: "cut off" in cut.said())
    server.kill()
    asked = len(provider.requests)
    server = serve("sample:two_steps", "sample:nested")
    cut.url = server.url
    cut.read()
    assert cut.said() == ["the first", "the second"]
    assert cut.ids == sorted(set(cut.ids))
    removed = [data[0] for kind, data in cut.events if kind.startswith("messages")]
    assert [each["type"] for each in removed].count("remove") == 1
    assert [data["attempt"] for kind, data in cut.events if kind == "metadata"] == [1, 2]
    again = [request.prompt for request in provider.requests[asked:]]
    assert "first x" not in again
    whole = Reader(server.url, run)
    whole.read()
    assert whole.said() == ["the first", "the second"]
    assert joined(server.url, run)["second"] == "the second"


@pytest.mark.parametrize(("durability", "kept"), [("async", True), ("exit", False)])
def test_what_a_killed_run_does_again(
    serve: Callable[..., Any], provider: Provider, durability: str, kept: bool
) -> None:
    """Without checkpoints on the way it begins anew, and all that it had said is void."""
    provider.on("first", "the first")
    provider.on("second", Reply("cut off here", hold_after=2), "the second")
    server = serve("sample:two_steps")
    run = start(server.url, "two_steps", durability=durability)
    cut = Reader(server.url, run)
    cut.read(lambda: "cut off" in cut.said())
    # With async the checkpoint may come after the next step has begun.
    wait_until(lambda: not kept or _state(server.url, run)["values"].get("first"))
    server.kill()
    asked = len(provider.requests)
    server = serve("sample:two_steps")
    cut.url = server.url
    cut.read()
    assert cut.said() == ["the first", "the second"]
    messages = [data[0] for kind, data in cut.events if kind == "messages"]
    removed = {each["id"] for each in messages if each["type"] == "remove"}
    assert len(removed) == (1 if kept else 2)
    again = [request.prompt for request in provider.requests[asked:]]
    assert again == (["second x"] if kept else ["first x", "second x"])
    assert joined(server.url, run) == {"topic": "x", "first": "the first", "second": "the second"}


def test_of_parallel_tasks_only_the_cut_off_run_again(
    serve: Callable[..., Any], provider: Provider
) -> None:
    """Of one node's tasks at once, those that were done are kept, and their messages."""
    for topic in ("a", "b", "d"):
        provider.on(f"about {topic}", f"text {topic}")
    provider.on("about cut", Reply("lost words", stall_after=1), "whole words")
    provider.on("about late", Reply("gone words", stall_after=1), "late words")
    server = serve("sample:fans")
    topics = ["a", "cut", "b", "late", "d"]
    run = start(server.url, "fans", input={"topics": topics})
    cut = Reader(server.url, run)
    wanted = {"text a", "text b", "text d", "lost", "gone"}
    cut.read(lambda: set(cut.said()) == wanted)
    wait_until(lambda: len(_writes(server.url, run)) >= 3)  # done, and kept
    server.kill()
    asked = len(provider.requests)
    server = serve("sample:fans")
    cut.url = server.url
    cut.read()
    expected = ["text a", "whole words", "text b", "late words", "text d"]
    assert sorted(cut.said()) == sorted(expected)
    assert sorted(request.prompt for request in provider.requests[asked:]) == [
        "about cut",
        "about late",
    ]
    assert joined(server.url, run)["texts"] == expected


def _writes(url: str, run: dict[str, Any]) -> list[Any]:
    """The results of tasks that are kept, of a thread's newest state."""
    return [task for task in _state(url, run)["tasks"] if task["result"] is not None]


def _state(url: str, run: dict[str, Any]) -> Any:
    return http_client.get(f"{url}/threads/{run['thread_id']}/state").json()


def test_a_fork_that_was_killed(serve: Callable[..., Any], provider: Provider) -> None:
    """A run from an older checkpoint goes on where it was; what the thread said before stays."""
    provider.on("first", "the first")
    provider.on("second", "the second", Reply("cut off here", hold_after=2), "another second")
    server = serve("sample:two_steps")
    whole = start(server.url, "two_steps")
    assert joined(server.url, whole)["second"] == "the second"
    thread = f"{server.url}/threads/{whole['thread_id']}"
    history = http_client.post(f"{thread}/history", json={}).json()
    [older] = [state for state in history if state["next"] == ["second_step"]]
    body = {"assistant_id": "two_steps", "checkpoint_id": older["checkpoint_id"]}
    fork = http_client.post(f"{thread}/runs", json={**body, "stream_mode": "messages-tuple"}).json()
    cut = Reader(server.url, fork)
    cut.read(lambda: "cut off" in cut.said())
    server.kill()
    asked = len(provider.requests)
    server = serve("sample:two_steps")
    cut.url = server.url
    cut.read()
    assert cut.said() == ["another second"]
    assert [request.prompt for request in provider.requests[asked:]] == ["second x"]
    assert joined(server.url, fork)["second"] == "another second"
    first = Reader(server.url, whole)
    first.read()
    assert first.said() == ["the first", "the second"]


@pytest.mark.parametrize(
    ("durability", "modes"), [("sync", ["messages-tuple", "values"]), ("async", "messages-tuple")]
)
def test_no_checkpoint_is_ahead_of_the_log(
    serve: Callable[..., Any], provider: Provider, tmp_path: Path, durability: str, modes: Any
) -> None:
    """A node whose tokens were not written yet is not done: killed then, it runs again."""
    provider.on("first", Reply("the first text", hold_after=1), "the first")
    provider.on("second", "the second")
    server = serve("sample:two_steps", "--data", str(tmp_path))
    run = start(server.url, "two_steps", durability=durability, stream_mode=modes)
    cut = Reader(server.url, run)
    cut.read(lambda: "the" in cut.said())
    with contextlib.closing(sqlite3.connect(tmp_path / "events.sqlite")) as disk:
        disk.execute("BEGIN IMMEDIATE")  # nothing more is written
        provider.release()
        with contextlib.suppress(TimeoutError):
            provider.wait_for_requests(2, timeout=1.5)
        server.kill()
    server = serve("sample:two_steps", "--data", str(tmp_path))
    whole = Reader(server.url, run)
    for reader in (cut, whole):
        reader.url = server.url
        reader.read()
        values = joined(server.url, run)
        assert reader.said() == [values["first"], values["second"]]
        assert values["second"] == "the second"


def test_what_is_finished_is_kept(serve: Callable[..., Any], provider: Provider) -> None:
    """After kill -9 finished runs, their events, threads and states are as they were."""
    provider.on("first", "the first")
    provider.on("second", "the second")
    server = serve("sample:two_steps")
    run = start(server.url, "two_steps", stream_mode=["messages-tuple", "values"])
    before = Reader(server.url, run)
    before.read()
    thread = http_client.get(f"{server.url}/threads/{run['thread_id']}").json()
    server.kill()
    server = serve("sample:two_steps")
    after = Reader(server.url, run)
    after.read()
    assert after.events == before.events
    assert http_client.get(f"{server.url}/threads/{run['thread_id']}").json() == thread
    assert thread["values"]["second"] == "the second"
    state = http_client.get(f"{server.url}/threads/{run['thread_id']}/state").json()
    assert state["values"] == thread["values"]
    assert len(provider.requests) == 2


def test_killed_before_the_first_checkpoint(serve: Callable[..., Any], provider: Provider) -> None:
    """Runs that waited when the server was killed run, with their input, at the next start."""
    provider.on("first", Reply("one", hold_after=0), "one")
    provider.on("second", "two")
    server = serve("sample:two_steps", "--max-runs", "1")
    runs = [start(server.url, "two_steps") for _ in range(3)]
    provider.wait_for_requests(1)
    server.kill()
    server = serve("sample:two_steps", "--max-runs", "1")
    for run in runs:
        assert joined(server.url, run) == {"topic": "x", "first": "one", "second": "two"}


def test_sigterm_lets_runs_finish(serve: Callable[..., Any], provider: Provider) -> None:
    """Told to stop, the server takes no new runs, and ends when those it has have ended."""
    provider.on("first", Reply("one two", hold_after=1))
    provider.on("second", "three")
    server = serve("sample:two_steps")
    run = start(server.url, "two_steps")
    reader = Reader(server.url, run)
    reader.read(lambda: "one" in reader.said())
    reader.connected.clear()
    late, plain = Reader(server.url, run), PlainReader(server.url, run)
    with in_background(reader):
        server.process.terminate()
        wait_until(lambda: http_client.get(f"{server.url}/ok").status_code == 503)
        body = {"assistant_id": "two_steps", "input": {}}
        assert http_client.post(f"{server.url}/runs/wait", json=body).status_code == 503
        with in_background(late, plain):  # who comes back now is served as well
            provider.release()
    for each in (reader, late, plain):
        assert each.said() == ["one two", "three"]
    assert plain.ended
    assert server.process.wait(60) == 0


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_what_takes_too_long_to_stop_goes_on_later(
    serve: Callable[..., Any], provider: Provider, durability: str
) -> None:
    """A run that does not finish in time is stopped, and taken up at the next start."""
    provider.on("first", "one")
    provider.on("second", Reply("cut off", stall_after=1), "two")
    server = serve("sample:two_steps", "--drain-seconds", "0.2")
    run = start(server.url, "two_steps", durability=durability)
    reader = Reader(server.url, run)
    reader.read(lambda: "cut" in reader.said())
    reader.connected.clear()
    cut: list[str] = []

    def read_on() -> None:
        try:
            reader.read()
        except httpx.TransportError:
            cut.append("stream")

    def join() -> None:
        try:
            joined(server.url, run)
        except httpx.TransportError:
            cut.append("join")

    threads = [threading.Thread(target=read_on), threading.Thread(target=join)]
    for thread in threads:
        thread.start()
    assert reader.connected.wait(60)
    assert server.terminate() == 0
    for thread in threads:
        thread.join(60)
    assert sorted(cut) == ["join", "stream"]  # neither was told that the run is over
    server = serve("sample:two_steps")
    reader.url = server.url
    reader.read()
    assert reader.said() == ["one", "two"]
    assert joined(server.url, run)["second"] == "two"


def test_who_comes_back_at_once_waits(serve: Callable[..., Any], provider: Provider) -> None:
    """A run that is not taken up yet is not over: its readers wait for what comes."""
    topics = ("a", "b")
    for topic, again in (("a", Reply("one a", hold_after=0)), ("b", "one b")):
        provider.on(f"first {topic}", Reply("cut off", stall_after=1), again)
        provider.on(f"second {topic}", f"two {topic}")
    server = serve("sample:two_steps")
    runs = [start(server.url, "two_steps", input={"topic": topic}) for topic in topics]
    for run in runs:
        before = Reader(server.url, run)
        before.read(lambda before=before: "cut" in before.said())  # type: ignore[misc]
    server.kill()
    server = serve("sample:two_steps", "--max-runs", "1")
    readers = [kind(server.url, run) for run in runs for kind in (Reader, PlainReader)]
    with in_background(*readers):
        provider.wait_for_requests(3)
        provider.release()
    for reader, topic in zip(readers, "aabb", strict=True):
        assert reader.said() == [f"one {topic}", f"two {topic}"]


class PlainReader(Reader):
    """As ``Reader``, of the plain server-sent events."""

    def __init__(self, url: str, run: dict[str, Any]) -> None:
        super().__init__(url, run)
        self.stream = f"/runs/{run['run_id']}/events"
        self.last = ""
        self.ended = False

    def take(self, fields: dict[str, str]) -> None:
        data = json.loads(fields["data"])
        self.ended = fields["event"] in ("end", "error")
        if "id" in fields:
            self.last = fields["id"]
            if fields["event"] != "run":  # told anew on each connection, under the reader's id
                number, _, part = self.last.rpartition(":")[2].partition(".")
                self.ids.append((int(number), int(part or 0)))
        if fields["event"] == "remove":
            # Of a message that began with an empty token, only that may have outlived the kill.
            self.texts.pop(data["id"], None)
        elif fields["event"] == "token":
            self.texts[data["id"]] = self.texts.get(data["id"], "") + data["text"]

    def over(self) -> bool:
        return self.ended


class Chaos:
    """Readers who are cut again and again, of a server that is killed again and again."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.readers: list[Reader] = []
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._up = threading.Event()
        self._url = ""

    def up(self, url: str) -> None:
        self._url = url
        self._up.set()

    def down(self) -> None:
        self._up.clear()

    def follow(self, reader: Reader) -> None:
        chance = random.Random(self.chance.random())
        thread = threading.Thread(target=self._follow, args=(reader, chance))
        self.readers.append(reader)
        self._threads.append(thread)
        thread.start()

    def events(self) -> int:
        """How many events have been read."""
        return sum(len(reader.ids) for reader in self.readers)

    def wait_for_events(self, count: int) -> None:
        """Wait until so many more events have been read, or all readers are at their end."""
        enough = self.events() + count
        wait_until(
            lambda: self.events() >= enough or not any(each.is_alive() for each in self._threads)
        )

    def join(self) -> None:
        for thread in self._threads:
            thread.join(100)
            assert not thread.is_alive()
        assert self.failures == []

    def _follow(self, reader: Reader, chance: random.Random) -> None:
        try:
            ended = False
            while not ended:
                self._up.wait(60)
                reader.url = self._url
                try:
                    wanted = len(reader.ids) + chance.randint(1, 60)
                    ended = reader.read(at_least(reader, wanted)) and reader.over()
                except httpx.TransportError:
                    pass  # the server was killed, after `down`: wait for the next one
        except BaseException as error:  # noqa: BLE001 - told by join
            self.failures.append(error)


@pytest.mark.timeout(300)
def test_chaos(serve: Callable[..., Any], provider: Provider) -> None:
    """Every reader ends with the final texts, no run is lost, none is left running.

    ``TOKENWEIR_CHAOS_SEED`` is for more of the same by hand.
    """
    said = {
        name: "".join(f" {name[0]}{number}" for number in range(40))
        for name in ("first", "second", "about a", "about b", "about c")
    }
    for name, text in said.items():
        provider.on(name, Reply(text, every=0.02))
    steps = ({"topic": "x"}, ["first", "second"])
    topics = {"topics": ["a", "b", "c"]}
    graphs = {
        "two_steps": steps,
        "nested": steps,
        "fans": (topics, ["about a", "about b", "about c"]),
    }
    words = [f"sample:{name}" for name in graphs]
    chaos = Chaos(int(os.environ.get("TOKENWEIR_CHAOS_SEED", "1")))
    server = serve(*words)
    chaos.up(server.url)
    runs = []
    for kill in range(KILLS + 1):
        for number in range(kill, RUNS, KILLS + 1):
            graph = chaos.chance.choice(list(graphs))
            durability = chaos.chance.choice(["sync", "async", "exit"])
            given = {"input": graphs[graph][0], "durability": durability}
            run = start(server.url, graph, stream_subgraphs=True, **given)
            runs.append((run, graphs[graph][1]))
            kind = Reader if number % 2 else PlainReader
            chaos.follow(kind(server.url, run))
        if kill < KILLS:
            chaos.wait_for_events(chaos.chance.randint(20, 800))
            chaos.down()
            server.kill()
            server = serve(*words)
            chaos.up(server.url)
    chaos.join()
    for reader, (run, names) in zip(chaos.readers, runs, strict=True):
        whole = Reader(server.url, run)
        whole.read()
        for each in (reader, whole):
            assert sorted(each.said()) == sorted(said[name] for name in names)
            assert each.ids == sorted(set(each.ids))
    metrics = http_client.get(f"{server.url}/metrics").text
    assert "\ntokenweir_runs_running 0.0\n" in metrics
    assert f'tokenweir_runs_kept{{status="success"}} {RUNS}.0\n' in metrics
