"""The contract of a store for runs."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tokenweir.serving.log.events import END
from tokenweir.serving.problems import (
    ConflictError,
    Limits,
    LostError,
    NotFoundError,
    TooBusyError,
    TooManyError,
)
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.records import Thread, now
from tokenweir.serving.running.store import Outcome
from tokenweir.testing.homes.making import (
    LIMITS,
    a_run,
    claimed,
    created,
    finished,
    read,
    told,
)

__all__ = ["RunChecks"]


class RunChecks:
    """Runs: stored, claimed in turns, cancelled, taken over."""

    async def test_a_run_is_kept_until_it_is_forgotten(self, home: Home) -> None:
        """Only its owner finds a run, with its whole request, before and after its end."""
        run = a_run(owner="ann", metadata={"a": "b"})
        await created(home, run)
        [hold] = await claimed(home)
        with pytest.raises(ConflictError):
            await home.store.forget(run.id, "ann")
        for status in ("running", "success"):
            found = await home.store.run(run.id, "ann")
            assert (found.status, found.request, found.metadata) == (
                status,
                run.request,
                run.metadata,
            )
            with pytest.raises(NotFoundError):
                await home.store.run(run.id, "bob")
            if status == "running":
                await finished(home, hold)
        await home.store.forget(run.id, "ann")
        with pytest.raises(NotFoundError):
            await home.store.run(run.id, "ann")
        assert await read(home.log, run.id) == []

    async def test_pages_of_runs(self, home: Home) -> None:
        """A thread's runs are listed newest first, by status and page, for one owner."""
        runs = [a_run("thread") for _ in range(5)]
        await created(home, *runs)
        await claimed(home)
        ids = [run.id for run in reversed(runs)]
        found = await home.store.runs_of("thread", "", limit=10)
        assert [run.id for run in found] == ids
        found = await home.store.runs_of("thread", "", limit=2, offset=1)
        assert [run.id for run in found] == ids[1:3]
        found = await home.store.runs_of("thread", "", status="running", limit=10)
        assert [run.id for run in found] == ids[4:]
        assert await home.store.runs_of("thread", "bob", limit=10) == []
        found = await home.store.unfinished("", ids=ids[:2], thread_id="thread", status="pending")
        assert {run.id for run in found} == set(ids[:2])

    async def test_a_thread_is_its_first_users(self, home: Home) -> None:
        """No other owner can use its id, for a run or for a thread."""
        await created(home, a_run("one", owner="ann"), a_run("two", owner="ann", temporary=True))
        for thread in ("one", "two"):
            with pytest.raises(NotFoundError):
                await created(home, a_run(thread, owner="bob"))
            with pytest.raises(ConflictError):
                await home.store.create_thread(Thread(id=thread, owner="bob"), LIMITS)
        with pytest.raises(NotFoundError):
            await home.store.thread("two", "ann")  # temporary: without a record

    async def test_what_is_too_much_is_refused(self, home: Home) -> None:
        """Too many waiting runs, runs that are not due, and threads each have their own error."""
        limits = Limits(queue=2, delayed=1, threads=3)
        store = home.store
        for _ in range(2):
            await store.create(a_run(), limits)
        with pytest.raises(TooBusyError):
            await store.create(a_run(), limits)
        await claimed(home)
        await store.create(a_run(due_in=60), limits)
        with pytest.raises(TooManyError):
            await store.create(a_run(due_in=60, temporary=True), limits)
        with pytest.raises(ConflictError):
            await store.create(a_run(), limits)
        await store.create(a_run(owner="bob"), limits)

    # Turns

    async def test_runs_of_a_thread_take_turns(self, home: Home, other: Home) -> None:
        """One run per thread is claimed at a time, in order; other threads are not delayed."""
        first, second, apart = a_run("thread"), a_run("thread"), a_run()
        await created(home, first, second, apart)
        held = await claimed(home, "a")
        assert {hold.run.id for hold in held} == {first.id, apart.id}
        assert {(hold.epoch, hold.run.attempt, hold.run.status) for hold in held} == {
            (1, 1, "running")
        }
        assert await claimed(other, "b") == []
        assert (await other.store.thread("thread", "")).status == "busy"
        await finished(home, next(hold for hold in held if hold.run.id == first.id))
        [hold] = await claimed(other, "b")
        assert hold.run.id == second.id
        await finished(other, hold, values={"a": 1})
        thread = await home.store.thread("thread", "")
        assert (thread.status, thread.values) == ("idle", {"a": 1})

    async def test_no_more_than_asked_for(self, home: Home) -> None:
        """A server claims as many runs as it has room for, but all that only have to be ended."""
        runs = [a_run() for _ in range(3)]
        await created(home, *runs)
        assert len(await claimed(home, most=1)) == 1
        await home.store.request_cancel(runs[2].id, "")
        [hold] = await claimed(home, most=0)
        assert (hold.run.id, hold.run.stopping) == (runs[2].id, True)

    async def test_what_is_not_due_stands_in_nobodys_way(self, home: Home) -> None:
        """Before its time a run is not claimed, and does not make its thread busy."""
        late, soon = a_run("thread", due_in=3600), a_run("thread", due_in=1.0)
        await created(home, late, soon)
        assert (await home.store.thread("thread", "")).status == "idle"
        assert await claimed(home) == []
        now_run = a_run("thread", strategy="reject")
        await created(home, now_run)
        [hold] = await claimed(home)
        assert hold.run.id == now_run.id
        await finished(home, hold)
        while not (found := await claimed(home)):
            await asyncio.wait_for(home.store.work("a"), 20)
        assert found[0].run.id == soon.id

    async def test_reject(self, home: Home) -> None:
        """A run with ``reject`` is refused while its thread has another run."""
        await created(home, a_run("thread"))
        with pytest.raises(ConflictError):
            await created(home, a_run("thread", strategy="reject"))

    @pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
    async def test_a_run_that_stops_the_others(
        self, home: Home, other: Home, strategy: str
    ) -> None:
        """Earlier runs have to be stopped: by their holder, or by the worker that claims them."""
        runs = [a_run("thread"), a_run("thread")]
        await created(home, *runs)
        [held] = await claimed(home, "a")
        last = a_run("thread", strategy=strategy)
        await created(other, last)
        stopped = await told(home, "a", 1)
        assert [(run.id, run.undone) for run in stopped] == [(runs[0].id, strategy == "rollback")]
        [waiting] = await claimed(other, "b")
        assert (waiting.run.id, waiting.run.undone) == (runs[1].id, strategy == "rollback")
        for where, hold in ((home, held), (other, waiting)):
            await finished(where, hold, status="interrupted", undone=strategy == "rollback")
        [hold] = await claimed(home, "a")
        assert hold.run.id == last.id
        kept = [run.id for run in await home.store.runs_of("thread", "", limit=9)]
        assert kept == ([last.id] if strategy == "rollback" else [last.id, runs[1].id, runs[0].id])

    # Cancels

    async def test_cancelling_elsewhere(self, home: Home, other: Home) -> None:
        """A cancel from another server reaches the holder, and the end reaches those who wait."""
        run = a_run()
        await created(home, run)
        [hold] = await claimed(home, "a")
        waiting = asyncio.ensure_future(other.store.ended(run.id, ""))
        with pytest.raises(NotFoundError):
            await other.store.request_cancel(run.id, "bob")
        await other.store.request_cancel(run.id, "")
        assert [each.id for each in await told(home, "a", 1)] == [run.id]
        await finished(home, hold, status="interrupted")
        assert (await asyncio.wait_for(waiting, 20)).status == "interrupted"
        assert (await other.store.ended(run.id, "")).status == "interrupted"
        with pytest.raises(NotFoundError):
            await other.store.request_cancel(run.id, "")

    async def test_undoing_at_the_last_moment(self, home: Home, other: Home) -> None:
        """A run to be rolled back does not end before the rollback; then it is gone."""
        run = a_run()
        await created(home, run)
        [hold] = await claimed(home, "a")
        writer = await home.log.writer(run.id, hold.epoch)
        await other.store.request_cancel(run.id, "", undo=True)
        reading = asyncio.ensure_future(read(home.log, run.id))
        await asyncio.sleep(0)
        assert not await home.store.finish(hold, writer, Outcome("success"))
        assert await home.store.finish(hold, writer, Outcome("interrupted", undone=True))
        assert [event.kind for event in await asyncio.wait_for(reading, 20)] == [END]
        with pytest.raises(NotFoundError):
            await other.store.run(run.id, "")

    # Stopping

    @pytest.mark.parametrize("turns", range(5))
    async def test_leaving_while_there_is_work(self, home: Home, turns: int) -> None:
        """A worker that waits for work can be cancelled at any moment, even as work arrives."""

        async def work() -> None:
            while True:
                await home.store.work("a")

        working = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        await created(home, a_run())
        for _ in range(turns):
            await asyncio.sleep(0)
        working.cancel()
        done, _ = await asyncio.wait([working], timeout=20)
        assert done

    # Taking over

    async def test_a_zombie_is_refused(self, home: Home, other: Home) -> None:
        """A server that was considered dead and continues changes no event, no end, no state."""
        run = a_run("thread")
        await created(home, run)
        [old] = await claimed(home, "a")
        lost = asyncio.Event()
        zombie = await home.log.writer(run.id, old.epoch, on_lost=lost.set)
        zombie.append("metadata", b'{"attempt":1}', durable=True)
        await zombie.saved()
        await home.store.leave("a")
        [new] = await claimed(other, "b")
        assert (new.run.id, new.epoch) == (run.id, old.epoch + 1)
        assert (old.run.lost, new.run.lost) == (0, 1)
        writer = await other.log.writer(run.id, new.epoch)
        assert writer.kept >= 1
        writer.append("metadata", b'{"attempt":2}', durable=True)
        with contextlib.suppress(LostError):  # a home of several servers finds out when it writes
            zombie.append("messages", b'"of a zombie"', durable=True)
        with pytest.raises(LostError):
            await zombie.saved()
        assert lost.is_set()
        with pytest.raises(LostError):
            zombie.append("messages", b'"of a zombie"')
        with pytest.raises(LostError):
            await home.log.writer(run.id, old.epoch)
        with pytest.raises(LostError):
            await home.store.finish(old, zombie, Outcome("error", values={"of": "a zombie"}))
        await home.store.release(old)
        assert await claimed(other, "c") == []
        assert await other.store.finish(new, writer, Outcome("success", values={"a": 1}))
        events = await asyncio.wait_for(read(home.log, run.id), 20)
        assert [event.kind for event in events] == ["metadata", "metadata", END]
        assert len({event.id for event in events}) == 3
        assert (await home.store.thread("thread", "")).values == {"a": 1}
        assert (await home.store.run(run.id, "")).status == "success"

    async def test_giving_back(self, home: Home, other: Home) -> None:
        """A run that is given back is claimed next, before the other runs of its thread."""
        runs = [a_run("thread"), a_run("thread")]
        await created(home, *runs)
        [hold] = await claimed(home, "a")
        await home.store.release(hold)
        [again] = await claimed(other, "b")
        assert (again.run.id, again.epoch, again.run.lost) == (runs[0].id, 2, 0)
        writer = await other.log.writer(runs[0].id, 2)
        with pytest.raises(LostError):
            await home.store.finish(hold, writer, Outcome("success"))

    # Keeping

    async def test_what_is_old(self, home: Home) -> None:
        """Finished runs are listed oldest first; threads without runs by their last change."""
        runs = [a_run("thread"), a_run(temporary=True), a_run(due_in=60, temporary=True)]
        await created(home, *runs)
        for hold in await claimed(home):
            await finished(home, hold)
        await home.store.create_thread(Thread(id="idle"), LIMITS)
        found = await home.store.old_runs(10)
        assert [run.id for run in found] == [runs[0].id, runs[1].id]
        assert [run.id for run in await home.store.old_runs(10, 1)] == [runs[1].id]
        assert [each.id for each in await home.store.old_threads(now(1), 10)] == ["idle"]
        assert list(await home.store.old_threads(now(-60), 10)) == []
        counts = await home.store.counts()
        assert (counts.runs["success"], counts.waiting, counts.threads) == (2, 0, 2)
