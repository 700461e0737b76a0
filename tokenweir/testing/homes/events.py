"""The contract of an event log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tokenweir.serving.log.events import Envelope, Event
from tokenweir.serving.problems import CutOffError
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.store import Outcome
from tokenweir.testing.homes.making import a_run, claimed, created, read

__all__ = ["EventChecks"]


class EventChecks:
    """Readers, on any server."""

    async def test_readers_before_during_and_after(self, home: Home, other: Home) -> None:
        """A reader gets all events in order, at any time and on any server."""
        run = a_run()
        await created(home, run)
        readers = [asyncio.ensure_future(read(each.log, run.id)) for each in (home, other)]
        await asyncio.sleep(0)
        [hold] = await claimed(home)
        writer = await home.log.writer(run.id, hold.epoch)
        envelope = Envelope(b'[{"content":', b"},{}]")
        for number in range(600):
            text = b'"%d"' % number
            writer.append("messages", text, envelope=envelope, durable=number % 50 == 0)
            if number % 100 == 0:
                await asyncio.sleep(0)
                readers.append(asyncio.ensure_future(read(other.log, run.id)))
        await writer.saved()
        assert await home.store.finish(hold, writer, Outcome("success"))
        readers.append(asyncio.ensure_future(read(other.log, run.id)))
        all_of_it = [await asyncio.wait_for(reader, 30) for reader in readers]
        texts = [event.value[0]["content"] for event in all_of_it[0][:-1]]
        assert texts == [f"{number}" for number in range(600)]
        assert all(events == all_of_it[0] for events in all_of_it)
        after = all_of_it[0][400].id
        assert await read(other.log, run.id, after) == all_of_it[0][401:]
        newest = await other.log.newest(run.id, "messages")
        assert newest is not None
        assert newest.value[0]["content"] == "599"

    async def test_the_last_id(self, home: Home, other: Home) -> None:
        """The last id belongs to an event, even if a run was taken over and has written nothing
        since: reading up to it never waits."""
        run = a_run()
        await created(home, run)
        [hold] = await claimed(home)
        writer = await home.log.writer(run.id, hold.epoch)
        assert await home.log.last_id(run.id) == 0
        last = [writer.append("custom", b"%d" % number) for number in range(3)][-1].id
        await writer.saved()
        assert await home.log.last_id(run.id) == await other.log.last_id(run.id) == last
        await home.store.release(hold)
        [hold] = await claimed(other, "b")
        writer = await other.log.writer(run.id, hold.epoch)
        assert await home.log.last_id(run.id) == await other.log.last_id(run.id) == last
        more = writer.append("custom", b"3").id
        assert await other.log.last_id(run.id) == more
        assert await other.store.finish(hold, writer, Outcome("success"))

    async def test_scanning(self, home: Home, other: Home) -> None:
        """A scan returns what a reader gets up to an id, for runs in progress and finished ones."""
        run = a_run()
        await created(home, run)
        [hold] = await claimed(home)
        writer = await home.log.writer(run.id, hold.epoch)
        envelopes = [Envelope(b'[{"content":', b',"id":"%d"},{}]' % number) for number in (1, 2)]
        for number in range(1500):
            if number % 500 == 0:
                writer.append("tasks", b'{"id":"1"}', durable=True)
            text = b'"%d"' % number
            writer.append("messages", text, envelope=envelopes[number % 2])
        await writer.saved()
        for over in (False, True):
            for each in (home, other):
                events = await self._scanned(each, run.id, 1 << 62)
                assert [event.id for event in events[:1503]] == list(range(1, 1504))
                some = await self._scanned(each, run.id, 700)
                assert some == events[:700]
            if not over:
                assert await home.store.finish(hold, writer, Outcome("success"))
        whole = await read(other.log, run.id)
        assert await self._scanned(other, run.id, 1 << 62) == whole

    async def _scanned(self, home: Home, run_id: str, upto: int) -> list[Event]:
        found: list[Event] = []

        def take(events: Any, envelope_of: Any = None) -> None:
            for event in events:
                envelope = event.envelope
                if isinstance(envelope, int):
                    envelope = envelope_of(envelope) if envelope else None
                found.append(Event(event.id, event.kind, event.body, envelope))

        await home.log.scan(run_id, upto, take)
        return found

    async def test_only_an_end_looks_like_one(self, home: Home) -> None:
        """When the server stops, readers of an unfinished run are cut off, even waiting ones."""
        run = a_run()
        await created(home, run)
        [hold] = await claimed(home)
        writer = await home.log.writer(run.id, hold.epoch)
        writer.append("messages", b"1", durable=True)
        reading = asyncio.ensure_future(read(home.log, run.id))
        waiting = asyncio.ensure_future(home.store.ended(run.id, ""))
        await writer.saved()
        home.log.cut_off()
        home.store.stop()
        for task in (reading, waiting):
            with pytest.raises(CutOffError):
                await asyncio.wait_for(task, 20)
