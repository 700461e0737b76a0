"""The contract of a store for threads and assistants."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tokenweir.serving.problems import ConflictError, NotFoundError
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.records import Assistant, Thread
from tokenweir.serving.running.searches import AssistantSearch, ThreadSearch
from tokenweir.testing.homes.making import LIMITS, a_run, claimed, created, finished

__all__ = ["ThreadChecks"]


class ThreadChecks:
    """Threads and assistants."""

    async def test_a_locked_thread_stands_still(self, home: Home, other: Home) -> None:
        """While the API changes a thread, none of its runs is claimed."""
        await home.store.create_thread(Thread(id="thread", metadata={"a": 1}), LIMITS)
        with contextlib.suppress(KeyError):
            async with home.store.locked("thread", "") as thread:
                thread.metadata = {"a": 2}
                raise KeyError  # then nothing is changed
        run = a_run("thread")
        async with home.store.locked("thread", "") as thread:
            assert thread.metadata == {"a": 1}
            creating = asyncio.ensure_future(created(other, run))
            await asyncio.sleep(0)
            assert await claimed(other, "b") == []
            thread.metadata = {"a": 3}
        await asyncio.wait_for(creating, 20)
        [hold] = await claimed(other, "b")
        assert (await other.store.thread("thread", "")).metadata["a"] == 3
        with pytest.raises(ConflictError):
            await home.store.delete_thread("thread", "")
        await finished(other, hold)
        await home.store.forget(run.id, "")
        await home.store.delete_thread("thread", "")
        with pytest.raises(NotFoundError):
            await home.store.thread("thread", "")

    async def test_turns(self, home: Home, other: Home) -> None:
        """Runs are numbered in the order in which they begin, and no number is used twice."""
        first, second, third = a_run("thread"), a_run("thread"), a_run("thread")
        await created(home, first, second, third)
        assert await other.store.latest("thread", "") is None
        # From before the first turn, where no run is that has not begun.
        waiting = asyncio.ensure_future(other.store.next_turn("thread", "", -1))
        [hold] = await claimed(home)
        begun = await asyncio.wait_for(waiting, 20)
        assert (begun.id, begun.turn, hold.run.turn) == (first.id, 1, 1)
        await home.store.release(hold)
        [hold] = await claimed(other, "b")
        assert hold.run.turn == 1  # it goes on
        await other.store.request_cancel(second.id, "")
        [ending] = await claimed(home)
        assert (ending.run.id, ending.run.turn) == (second.id, 0)
        await finished(home, ending, status="interrupted")
        assert (await other.store.next_turn("thread", "", 1)).id == second.id
        await finished(other, hold)
        await home.store.forget(second.id, "")
        [hold] = await claimed(home)
        assert (hold.run.id, hold.run.turn) == (third.id, 3)
        latest = await other.store.latest("thread", "")
        assert latest is not None
        assert latest.id == third.id

    async def test_who_waits_for_a_turn_on_a_thread_that_goes(self, home: Home) -> None:
        """Waiting for a turn fails when the thread is deleted, or belongs to another owner."""
        await home.store.create_thread(Thread(id="thread"), LIMITS)
        waiting = asyncio.ensure_future(home.store.next_turn("thread", "", 0))
        with pytest.raises(NotFoundError):
            await home.store.next_turn("thread", "ann", 0)
        await home.store.delete_thread("thread", "")
        with pytest.raises(NotFoundError):
            await asyncio.wait_for(waiting, 20)

    async def test_searching_threads(self, home: Home) -> None:
        """Threads are found by owner, id, status, metadata and values; sorted, paged, counted."""
        for number in range(5):
            metadata = {"odd": number % 2 == 1, "n": number}
            thread = Thread(id=f"t{number}", owner="ann", metadata=metadata, values={"n": number})
            await home.store.create_thread(thread, LIMITS)
        search = home.store.search_threads

        async def ids(**asked: Any) -> tuple[list[str], int]:
            found, total = await search("ann", ThreadSearch(**{"limit": 10, **asked}))
            return [each.id for each in found], total

        assert await ids() == (["t4", "t3", "t2", "t1", "t0"], 5)
        assert await ids(metadata={"odd": True}) == (["t3", "t1"], 2)
        assert await ids(values={"n": 2}) == (["t2"], 1)
        assert await ids(ids=["t1", "nobody's"], status="idle") == (["t1"], 1)
        assert await ids(status="busy") == ([], 0)
        assert await ids(sort_by="id", descending=False, limit=2, offset=1) == (["t1", "t2"], 5)
        assert await search("bob", ThreadSearch(limit=10)) == ([], 0)

    async def test_ids_that_nothing_has(self, home: Home) -> None:
        """Looking anything up by a text with a NUL finds nothing."""
        odd = "a\0b"
        with pytest.raises(NotFoundError):
            await home.store.thread(odd, "")
        with pytest.raises(NotFoundError):
            await home.store.run(odd, "")
        assert await home.store.assistant(odd) is None
        assert await home.store.search_threads("", ThreadSearch(ids=[odd], limit=1)) == ([], 0)
        assert await home.store.search_threads("", ThreadSearch(status=odd, limit=1)) == ([], 0)
        assert await home.store.unfinished("", ids=[odd]) == []

    async def test_assistants(self, home: Home) -> None:
        """All owners see assistants without an owner, and each its own, up to a limit."""
        own = Assistant(id="own", graph="graph", name="graph", metadata={"created_by": "system"})
        await home.store.create_assistant(own)
        made = Assistant(id="made", graph="graph", owner="ann", name="Brief", metadata={"a": 1})
        await home.store.create_assistant(made, 1)
        with pytest.raises(ConflictError):
            await home.store.create_assistant(own)
        with pytest.raises(ConflictError):
            await home.store.create_assistant(
                Assistant(id="more", graph="graph", owner="ann"), most=1
            )

        async def ids(owner: str, **asked: Any) -> list[str]:
            search = AssistantSearch(**{"graphs": ["graph"], "limit": 10, **asked})
            return [each.id for each in (await home.store.search_assistants(owner, search))[0]]

        assert await ids("ann") == ["own", "made"]
        assert await ids("bob") == ["own"]
        assert await ids("ann", name="bri") == await ids("ann", metadata={"a": 1}) == ["made"]
        assert await ids("ann", graphs=[]) == []
        made.name = "changed"
        await home.store.save_assistant(made)
        assert (await home.store.assistant("made") or own).name == "changed"
        await home.store.delete_assistant("made")
        assert await home.store.assistant("made") is None
        with pytest.raises(NotFoundError):
            await home.store.save_assistant(made)
