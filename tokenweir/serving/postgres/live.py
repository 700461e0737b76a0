"""Sends events to the servers that read a run as they are written, unbuffered and without waiting.

The new events of all runs are sent together in intervals, as each message wakes its receivers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator

from tokenweir.serving.postgres.carriers import NatsCarrier, NotifyCarrier
from tokenweir.serving.postgres.live_parts import (
    LONGEST,
    LiveEvent,
    LivePart,
    RunPart,
    SentEnvelope,
    pack,
    weight,
)
from tokenweir.serving.postgres.writer import PostgresWriter

__all__ = ["Live"]

_MOST = LONGEST - 128
"""Bytes of one part, without the id of its run."""


class _Sent:
    """What was sent of a writer: events up to an id, and the envelopes of some messages."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.envelopes = set[int]()


class Live:
    """Sends the events of this process' writers to readers at other servers.

    Such events continue what readers have, or what is in Postgres.

    Args:
        notify: Reaches all servers.
        nats: Reaches servers that have NATS, if this one has.
        readers: Gives the addresses of the other servers that read a run.
        hurry: Writes a writer's waiting events at once; for events that are too long to send.
    """

    def __init__(
        self,
        notify: NotifyCarrier,
        nats: NatsCarrier | None,
        *,
        readers: Callable[[str], Collection[str]],
        hurry: Callable[[PostgresWriter], None],
    ) -> None:
        self._notify = notify
        self._nats = nats
        self._readers = readers
        self._hurry = hurry
        self._loop = asyncio.get_running_loop()
        self._sent: dict[PostgresWriter, _Sent] = {}
        """The writers with readers at other servers."""
        self._more: dict[PostgresWriter, None] = {}
        """Those of them with new events."""
        self._sending: asyncio.Task[None] | None = None

    def begin(self, writer: PostgresWriter) -> None:
        """Note that a server reads a writer's run, and has only what is in Postgres."""
        self._sent[writer] = _Sent(writer.last_saved)
        self.said(writer)

    def end(self, writer: PostgresWriter) -> None:
        """Drop a writer that writes no more."""
        self._sent.pop(writer, None)
        self._more.pop(writer, None)

    def said(self, writer: PostgresWriter) -> None:
        """Note that a writer may have new visible events."""
        if writer in self._sent:
            self._more[writer] = None
            if self._sending is None:
                self._sending = self._loop.create_task(self._send())
                self._sending.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._sending = None

    async def _send(self) -> None:
        while self._more:
            writers, self._more = list(self._more), {}
            parts = [part for writer in writers for part in self._parts(writer)]
            if parts:
                await asyncio.sleep(await self._carry(parts))

    async def _carry(self, parts: list[RunPart]) -> float:
        """Send parts to the readers of their runs; return the seconds until the next round."""
        nats = self._nats
        notified, addressed = list[RunPart](), dict[str, list[RunPart]]()
        for part in parts:
            addresses = self._readers(part[0])
            by_nats = [each for each in addresses if nats is not None and nats.reaches(each)]
            for address in by_nats:
                addressed.setdefault(address, []).append(part)
            if len(by_nats) < len(addresses):
                notified.append(part)
        if nats is not None:
            for address, some in addressed.items():
                await nats.send(address, list(pack(some)))
        if notified:
            await self._notify.send(list(pack(notified)))
        return self._notify.pace if notified or nats is None else nats.pace

    def _parts(self, writer: PostgresWriter) -> Iterator[RunPart]:
        """The parts to send for a writer."""
        if not self._readers(writer.run):
            del self._sent[writer]
            return
        sent, tail = self._sent[writer], writer.tail
        # Events that left memory before they were sent are in Postgres; readers see the gap.
        sent.last = max(sent.last, tail.dropped)
        events = tail.after(sent.last)
        if events and events[-1].id < tail.visible:
            self._more[writer] = None
        part, size, far = LivePart(sent.last, [], []), 0, False
        for event in events:
            envelope = event.envelope
            new = envelope is not None and envelope.id not in sent.envelopes
            heavy = weight(event, enveloped=new)
            far = heavy > _MOST
            if far and event.id > writer.last_saved:
                self._hurry(writer)  # once it is saved, ``said`` is called again
                self._more.pop(writer, None)
                far = False
                break
            if part.events and (far or size + heavy > _MOST):
                yield writer.run, part, size
                part, size = LivePart(sent.last, [], []), 0
            sent.last = event.id
            if new and envelope is not None:
                sent.envelopes.add(envelope.id)
            if far:
                part.before = event.id
                continue
            if new and envelope is not None:
                part.envelopes.append(SentEnvelope(envelope.id, envelope.head, envelope.tail))
            name = 0 if envelope is None else envelope.id
            part.events.append(LiveEvent(event.id, event.kind, event.body, name))
            size += heavy
        if part.events or far:
            yield writer.run, part, size

    async def close(self) -> None:
        """Stop sending."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
