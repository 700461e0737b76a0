"""A run's stream on its way into the event log: each part is recorded where it is made.

There is no task that reads the stream: a token goes from the model's call into the log in one step.
While the log is full, parts wait in the channel, which holds the model calls back when it is full,
too.
"""

from __future__ import annotations

import asyncio
from threading import get_ident
from typing import Any

from langchain_core.messages import AIMessageChunk, BaseMessage

from tokenweir.serving.log.events import EventLog
from tokenweir.serving.running.encoding import TokenEncoder, encode, encode_text
from tokenweir.serving.running.records import Run
from tokenweir.streaming.channel import (
    EndOfStream,
    ReaderLeft,
    ReceiveChannel,
    SendChannel,
    TextWriter,
    open_channel,
)
from tokenweir.streaming.run import Plan, run
from tokenweir.streaming.stream import DEFAULT_BUFFER
from tokenweir.types import Metadata, Namespace

__all__ = ["Recorder"]

_TURNS = 10
"""Of the event loop, in which what a node has just streamed comes out of LangGraph's own queue.

No proof, and only for runs whose parts go through that queue: with a LangGraph of other insides.
"""


class Recorder:
    """Records one run's stream.

    Attributes:
        count: How many events it has recorded.
    """

    def __init__(self, run: Run, log: EventLog) -> None:
        self.count = 0
        self._run = run
        self._log = log
        self._send: SendChannel[Any]
        self._channel: ReceiveChannel[Any]
        self._send, self._channel = open_channel(DEFAULT_BUFFER)
        self._tokens = TokenEncoder(run_id=run.id, thread_id=run.thread_id)
        self._seen = set[Any]()
        self._subgraphs = run.request.subgraphs
        self._exit = run.request.durability == "exit"
        """No checkpoint has what a step said be saved before the run's end."""
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._waiting: asyncio.Task[None] | None = None
        self._failed: BaseException | None = None
        self._direct = True

    async def record(self, plan: Plan) -> None:
        """Run a graph to its end, in this task. Raises what the run raises."""
        self._direct = plan.direct()
        self._channel.attach(self)
        try:
            await run(plan, self._send)
            while self._waiting is not None:
                await asyncio.wait([self._waiting])
            self.wake()
        finally:
            if self._waiting is not None:
                self._waiting.cancel()
            self._take_rest()
            self._channel.close()
        if self._failed is not None:
            raise self._failed

    def refuse(self) -> None:
        """Record nothing more: the run is over, and its nodes go on."""
        self._fail(ReaderLeft())

    async def recorded(self) -> None:
        """Wait until what the run has made so far is in the log.

        It nearly always is, and nothing waits: only while the log is full, or if a part was made in
        another thread just before.
        """
        if not self._direct:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        made = self.count + self._channel.statistics().waiting
        if self.count < made:
            self.wake()
        while self.count < made and self._waiting is not None and not self._channel.closed:
            await asyncio.wait([self._waiting])

    def receive(self, part: Any) -> bool:
        """Record a part, unless something has to be waited for."""
        if self._must_wait():
            return False
        try:
            self._put(part)
        except Exception as error:  # noqa: BLE001 - as in wake
            self._fail(error)
        return True

    def text_writer(self, namespace: Namespace, metadata: Metadata, message_id: str) -> TextWriter:
        """Records texts of one message in the envelope of the chunk before them."""
        kind, run_id = self._kind("messages", namespace), self._run.id
        append, envelope_of, channel = self._log.append, self._tokens.envelope, self._channel

        def record(text: str) -> bool:
            envelope = envelope_of(kind, message_id)
            if envelope is None or channel.ready or self._must_wait():
                return False
            try:
                body = encode_text(text)
            except UnicodeEncodeError:  # its chunk waits for the other half of a letter
                return False
            self.count += 1
            try:
                append(run_id, kind, body, envelope=envelope)
            except Exception as error:  # noqa: BLE001 - as in wake
                self._fail(error)
            return True

        return record

    def _must_wait(self) -> bool:
        return (
            get_ident() != self._thread
            or self._log.full
            or self._waiting is not None
            or self._failed is not None
        )

    def _fail(self, error: BaseException) -> None:
        self._failed = error
        self._channel.close()

    def _kind(self, mode: str, namespace: Namespace) -> str:
        return "|".join((mode, *namespace)) if self._subgraphs and namespace else mode

    def wake(self) -> None:
        """Record what waits in the channel."""
        if get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.wake)
            return
        if self._waiting is not None or self._failed is not None:
            return
        channel, log, put = self._channel, self._log, self._put
        try:
            while channel.ready:
                if log.full:
                    self._waiting = self._loop.create_task(self._wait())
                    return
                put(channel.receive_nowait())
        except EndOfStream:
            return
        except Exception as error:  # noqa: BLE001 - it ended the run, and is raised by record
            self._fail(error)

    def _take_rest(self) -> None:
        """Record what still waits in the channel of a stopped run, however full the log is.

        It is in memory as it is, and a checkpoint of what made it may be on its way.
        """
        try:
            while self._failed is None and self._channel.statistics().waiting:
                self._put(self._channel.receive_nowait())
        except Exception as error:  # noqa: BLE001 - as in wake
            self._failed = error

    async def _wait(self) -> None:
        await self._log.ready()
        self._waiting = None
        self.wake()

    def _put(self, part: Any) -> None:
        mode, payload = part[-2], part[-1]
        kind = self._kind(mode, part[0]) if self._subgraphs else mode
        self.count += 1
        if mode not in ("messages", "custom") or not _is_token(payload):
            durable = self._exit and mode != "custom"
            self._log.append(self._run.id, kind, encode(payload), durable=durable)
            return
        # Whoever sees a message begin must be told if it becomes void after a kill.
        message_id = payload[0].id
        if begins := message_id not in self._seen:
            self._seen.add(message_id)
        body, envelope = self._tokens.encode(kind, *payload)
        self._log.append(self._run.id, kind, body, envelope=envelope, durable=begins)


def _is_token(payload: Any) -> bool:
    if type(payload) is tuple and len(payload) == 2 and type(payload[0]) is AIMessageChunk:
        return True  # as nearly always
    return (
        isinstance(payload, (tuple, list))
        and len(payload) == 2
        and isinstance(payload[0], BaseMessage)
    )
