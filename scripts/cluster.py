"""``make cluster``: three servers on one Postgres, one of them killed while it streams.

Six runs of the ready graph ``joke_poem`` are started at the servers in turn. Each is read at
another server than it was started at, by LangGraph's own client, which comes back elsewhere when it
is cut. Then one server is killed as by ``kill -9``. At the end what each reader has added up is
compared with the state of its thread. The model is scripted, and never says the same twice: text of
two attempts that were mixed up would be seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langgraph_sdk import get_client

from tokenweir.serving.postgres.embedded import EmbeddedPostgres
from tokenweir.testing import Provider, Reply
from tokenweir.testing.recorded import RecordedRequest

TOPICS = ("cats", "tea", "rain", "Mondays", "ducks", "chess")
WORDS = ("soft", "loud", "grey", "warm", "late", "quick", "round", "slow", "bright", "odd", "deep")
NAMES = "ABC"
KILL = 90
"""Tokens that every reader has before a server is killed: all are in the middle of a poem."""

_began = time.monotonic()


def say(text: str) -> None:
    """One line, with the time."""
    print(f"{time.monotonic() - _began:5.1f} s  {text}", flush=True)


def answers(kind: str, topic: str) -> Iterator[Reply]:
    """What the model says about a topic, each time something else."""
    chance = random.Random(f"{kind} {topic}")
    for attempt in itertools.count(1):
        words = [f" {chance.choice(WORDS)}" for _ in range(70)]
        yield Reply(tokens=[f"A {kind} about {topic}, take {attempt}:", *words], every=0.04)


def about(kind: str, topic: str) -> Any:
    """Whether a request asks for that."""

    def rule(request: RecordedRequest) -> bool:
        return kind in request.prompt and request.prompt.endswith(f" {topic}")

    return rule


class Server:
    """One ``tokenweir serve``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.url = ""

    async def start(self, database: str, environ: dict[str, str]) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "tokenweir",
                "serve",
                "joke_poem",
                "--port=0",
                "--data",
            ),
            database,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, **environ},
        )
        assert self.process.stdout is not None
        self.url = (await self.process.stdout.readline()).decode().strip()
        if not self.url:
            raise SystemExit(f"server {self.name} did not start")
        say(f"server {self.name} at {self.url}")

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await self.process.wait()


class Balancer:
    """A load balancer as simple as they come: each connection goes to the next server that is
    there, whatever it is about."""

    def __init__(self, servers: list[Server]) -> None:
        self._turns = itertools.cycle(servers)
        self._most = len(servers)

    async def start(self) -> str:
        server = await asyncio.start_server(self._connected, "127.0.0.1")
        return "http://{}:{}".format(*server.sockets[0].getsockname())

    async def _connected(self, reader: Any, writer: Any) -> None:
        for server in itertools.islice(self._turns, self._most):
            host, _, port = server.url.removeprefix("http://").partition(":")
            with contextlib.suppress(OSError):
                back, forth = await asyncio.open_connection(host, int(port))
                break
        else:
            writer.close()
            return
        ways = [asyncio.ensure_future(_carry(*way)) for way in ((reader, forth), (back, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, forth):
            end.transport.abort()  # the other end sees that something has been cut


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()


class Reader:
    """Starts a run, and adds up its texts by message id.

    LangGraph's client comes back by itself when it is cut, with the last id that it has.
    """

    def __init__(self, topic: str, url: str) -> None:
        self.topic = topic
        self.texts: dict[str, str] = {}
        self.tokens = 0
        self._client = get_client(url=url)

    async def follow(self) -> bool:
        """The whole run; whether what was read is what the state has."""
        thread = (await self._client.threads.create())["thread_id"]
        run = await self._client.runs.create(
            thread, "joke_poem", input={"topic": self.topic}, stream_mode="messages-tuple"
        )
        async for part in self._client.runs.join_stream(
            thread, run["run_id"], stream_mode="messages-tuple", last_event_id="-1"
        ):
            if part.event == "messages":
                self._take(part.data[0])
        state: Any = (await self._client.threads.get_state(thread))["values"]
        same = list(self.texts.values()) == [state["joke"], state["poem"]]
        say(
            f"{self.topic:8} is over: {'the same as' if same else 'NOT'} the state, "
            f"{state['joke'][:40]!r}..."
        )
        return same

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "remove":
            void = self.texts.pop(message["id"])
            say(f"{self.topic:8} goes on elsewhere, and begins anew; void is {void[:40]!r}...")
            return
        self.tokens += bool(message["content"])
        self.texts[message["id"]] = self.texts.get(message["id"], "") + message["content"]


async def show(readers: list[Reader]) -> None:
    """How far the readers are, each second."""
    while True:
        await asyncio.sleep(1)
        say("tokens:  " + "  ".join(f"{each.topic} {each.tokens}" for each in readers))


async def play(database: str, environ: dict[str, str]) -> bool:
    """All of it; whether every text was right."""
    servers = [Server(name) for name in NAMES]
    await asyncio.gather(*(server.start(database, environ) for server in servers))
    readers = [Reader(topic, await Balancer(servers).start()) for topic in TOPICS]
    following = asyncio.gather(*(reader.follow() for reader in readers))
    showing = asyncio.ensure_future(show(readers))
    while min(reader.tokens for reader in readers) < KILL:  # noqa: ASYNC110 - each counts its own
        await asyncio.sleep(0.05)
    say("server B is killed: kill -9")
    servers[1].process.kill()
    same = await following
    showing.cancel()
    say(f"{sum(same)} of {len(same)} texts are exact, though a server was killed")
    await asyncio.gather(*(server.stop() for server in servers))
    return all(same)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="tokenweir-") as folder, Provider() as provider:
        for kind, topic in itertools.product(("joke", "poem"), TOPICS):
            provider.on(about(kind, topic), *itertools.islice(answers(kind, topic), 9))
        with EmbeddedPostgres(Path(folder)) as postgres:
            say(f"Postgres in {folder}")
            return 0 if asyncio.run(play(postgres.url(), provider.environ)) else 1


if __name__ == "__main__":
    sys.exit(main())
