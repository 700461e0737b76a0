"""Records a run's stream: each part goes into the event log where it is produced.

No task reads the stream: a token goes from the model call into the log in one call. While the log
is full, parts wait in the channel, and when the channel is full, it holds back the model calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from threading import get_ident
from typing import Any

from langchain_core.messages import AIMessageChunk, BaseMessage

from tokenweir.serving.log.events import EventWriter
from tokenweir.serving.running.encoding import TokenEncoder, encode, encode_text
from tokenweir.serving.running.guarding import Guarding, ReplacedError
from tokenweir.serving.running.records import Run
from tokenweir.serving.running.timing import RunTiming
from tokenweir.streaming.channel import (
    EndOfStream,
    ReaderLeft,
    ReceiveChannel,
    SendChannel,
    TextWriter,
    open_channel,
)
from tokenweir.streaming.content import call_of
from tokenweir.streaming.guard import Guard
from tokenweir.streaming.run import Plan, run
from tokenweir.streaming.stream import DEFAULT_BUFFER
from tokenweir.types import Metadata, Namespace, Token

__all__ = ["Recorder"]

_TURNS = 10
"""Iterations of the event loop until what a node streamed should have left LangGraph's own queue.

This is a heuristic, used only if parts go through that queue, with an unknown LangGraph version.
"""


class Recorder:
    """Records one run's stream.

    Attributes:
        count: The number of events recorded.
    """

    def __init__(
        self, run: Run, writer: EventWriter, timing: RunTiming, guards: Sequence[Guard] = ()
    ) -> None:
        self.count = 0
        self._timing = timing
        self._writer = writer
        self._send: SendChannel[Any]
        self._channel: ReceiveChannel[Any]
        self._send, self._channel = open_channel(DEFAULT_BUFFER)
        self._tokens = TokenEncoder(run_id=run.id, thread_id=run.thread_id)
        self._seen = set[Any]()
        """By message: the sets of parts that chunks have added to so far."""
        self._subgraphs = run.request.subgraphs
        self._exit = run.request.durability == "exit"
        """Whether checkpoints are written only at the end; none makes events durable before."""
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._waiting: asyncio.Task[None] | None = None
        self._failed: BaseException | None = None
        self._direct = True
        self._guarding = Guarding(guards) if guards else None
        self._work: asyncio.Task[None] | None = None
        """The task of the run, if there are guards."""
        self._places: dict[Hashable, Any] = {}
        """By model call: the mode and namespace of its parts, for tokens that guards hold back."""

    async def record(self, plan: Plan) -> None:
        """Run a graph until it ends, in this task. Raises what the run raises."""
        self._direct = plan.direct()
        self._channel.attach(self)
        try:
            await self._run(plan)
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

    async def _run(self, plan: Plan) -> None:
        if self._guarding is None:
            return await run(plan, self._send)
        # In its own task, so that a guard can stop a call that produces nothing more.
        self._work = self._loop.create_task(run(plan, self._send))
        try:
            await self._work
        except asyncio.CancelledError:
            if self._failed is None:
                raise

    def refuse(self) -> None:
        """Record nothing more: the run has ended, but its nodes keep running."""
        self._fail(ReaderLeft())

    async def recorded(self) -> None:
        """Wait until what the run has produced so far is in the log.

        Usually it is, and this returns at once. It waits only while the log is full, or if a part
        was just produced in another thread.
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
        """Record a part; return False if it has to wait in the channel."""
        if self._must_wait():
            return False
        try:
            self._put(part)
        except Exception as error:  # noqa: BLE001 - as in wake
            self._fail(error)
        return True

    def text_writer(
        self, namespace: Namespace, metadata: Metadata, message_id: str
    ) -> TextWriter | None:
        """What records texts of one message in the envelope of its last chunk."""
        if self._guarding is not None:
            return None
        kind = self._kind("messages", namespace)
        append, envelope_of, channel = self._writer.append, self._tokens.envelope, self._channel
        came = self._timing.token
        begins = True

        def record(text: str) -> bool:
            nonlocal begins
            envelope = envelope_of(kind, message_id)
            if envelope is None or channel.ready or self._must_wait():
                return False
            try:
                body = encode_text(text)
            except UnicodeEncodeError:  # wait for the other half of a surrogate pair
                return False
            self.count += 1
            came(message_id)
            try:
                append(kind, body, envelope=envelope, durable=begins)
                begins = False
            except Exception as error:  # noqa: BLE001 - as in wake
                self._fail(error)
            return True

        return record

    def _must_wait(self) -> bool:
        return (
            get_ident() != self._thread
            or self._writer.full
            or self._waiting is not None
            or self._failed is not None
        )

    def _fail(self, error: BaseException) -> None:
        self._failed = error
        self._channel.close()
        if self._work is not None:
            self._work.cancel()

    def _kind(self, mode: str, namespace: Namespace) -> str:
        return "|".join((mode, *namespace)) if self._subgraphs and namespace else mode

    def wake(self) -> None:
        """Record the parts that wait in the channel."""
        if get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.wake)
            return
        if self._waiting is not None or self._failed is not None:
            return
        channel, writer, put = self._channel, self._writer, self._put
        try:
            while channel.ready:
                if writer.full:
                    self._waiting = self._loop.create_task(self._wait())
                    return
                put(channel.receive_nowait())
        except EndOfStream:
            return
        except Exception as error:  # noqa: BLE001 - it ends the run, and record raises it
            self._fail(error)

    def _take_rest(self) -> None:
        """Record the parts that still wait when a run is stopped, even if the log is full.

        They are in memory already, and the checkpoint of their step may be on its way.
        """
        try:
            while self._failed is None and self._channel.statistics().waiting:
                self._put(self._channel.receive_nowait())
            if self._guarding is not None and self._failed is None:
                self._put_passed(self._guarding, self._guarding.end())
        except Exception as error:  # noqa: BLE001 - as in wake
            self._failed = error

    async def _wait(self) -> None:
        await self._writer.ready()
        self._waiting = None
        self.wake()

    def _put(self, part: Any) -> None:
        guarding, payload = self._guarding, part[-1]
        if guarding is None or part[-2] not in ("messages", "custom") or not _is_token(payload):
            self._append(part)
        else:
            self._places[call_of(*payload)] = part[:-1]
            self._put_passed(guarding, guarding.feed(tuple(payload)))

    def _put_passed(self, guarding: Guarding, passed: list[Token]) -> None:
        """Record tokens that passed the guards. Raises an error to end the run if one did not."""
        for token in passed:
            self._append((*self._places[call_of(*token)], token))
        if (ending := guarding.ending()) is not None:
            self._append((*self._places[call_of(*ending)], ending))
            raise ReplacedError

    def _append(self, part: Any) -> None:
        mode, payload = part[-2], part[-1]
        kind = self._kind(mode, part[0]) if self._subgraphs else mode
        self.count += 1
        if mode not in ("messages", "custom") or not _is_token(payload):
            durable = self._exit and mode != "custom"
            self._writer.append(kind, encode(payload), durable=durable)
            return
        self._timing.chunk(payload[0])
        # A reader that saw a message or a part begin must get its retraction after a crash.
        parts = _parts(payload[0])
        if begins := parts not in self._seen:
            self._seen.add(parts)
        body, envelope = self._tokens.encode(kind, *payload)
        self._writer.append(kind, body, envelope=envelope, durable=begins)


def _parts(message: BaseMessage) -> tuple[Any, ...]:
    """The parts of a message that a chunk adds to: text, reasoning, each tool call, each block."""
    content = message.content
    text = bool(content) if isinstance(content, str) else tuple(map(_block, content))
    reasoning = bool(message.additional_kwargs.get("reasoning_content"))
    calls = getattr(message, "tool_call_chunks", None) or ()
    return message.id, text, reasoning, tuple(str(call.get("index")) for call in calls)


def _block(block: Any) -> tuple[str, str]:
    if not isinstance(block, dict):
        return "text", ""
    return str(block.get("type")), str(block.get("index"))


def _is_token(payload: Any) -> bool:
    if type(payload) is tuple and len(payload) == 2 and type(payload[0]) is AIMessageChunk:
        return True  # the usual case
    return (
        isinstance(payload, (tuple, list))
        and len(payload) == 2
        and isinstance(payload[0], BaseMessage)
    )
