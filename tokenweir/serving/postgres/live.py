"""Sends what a run says to the servers that read it, as it comes: not kept, and never waited for.

Now and then, what all runs have said meanwhile at once: each message wakes whom it goes to.
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
"""Bytes of one part, beside the name of its run."""


class _Sent:
    """How far the events of a writer were sent: up to an id, and of which messages the envelope."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.envelopes = set[int]()


class Live:
    """Sends the events of this process' writers to those who read them elsewhere.

    What readers get follows on what they have, or on what is in Postgres: it begins behind that.

    Args:
        notify: Reaches every server.
        nats: Reaches those that have it, if this one has.
        readers: Where the other servers are reached that read a run.
        hurry: Has what waits of a writer written at once: what is too long to be sent.
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
        """The writers that are read elsewhere."""
        self._more: dict[PostgresWriter, None] = {}
        """Those of them that have said more."""
        self._sending: asyncio.Task[None] | None = None

    def begin(self, writer: PostgresWriter) -> None:
        """A writer's run is read elsewhere, by a server that knows only what is in Postgres."""
        self._sent[writer] = _Sent(writer.last_saved)
        self.said(writer)

    def end(self, writer: PostgresWriter) -> None:
        """Nobody writes there any more."""
        self._sent.pop(writer, None)
        self._more.pop(writer, None)

    def said(self, writer: PostgresWriter) -> None:
        """A writer may have events that readers may see."""
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
        """Send parts to where their runs are read; for how long nothing more is to be sent."""
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
        """What is to be sent of a writer."""
        if not self._readers(writer.run):
            del self._sent[writer]
            return
        sent, tail = self._sent[writer], writer.tail
        # What went out of memory unsent is in Postgres: readers see that something lacks.
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
                self._hurry(writer)  # and what is saved is said again
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
        """Send no more."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
