"""Helpers of the checks: make, claim, end and read runs."""

from __future__ import annotations

import asyncio
from typing import Any

from tokenweir.serving.log.events import Event, EventLog
from tokenweir.serving.problems import Limits
from tokenweir.serving.running.home import Home
from tokenweir.serving.running.ids import new_id
from tokenweir.serving.running.records import Run, RunRequest, now
from tokenweir.serving.running.store import Hold, Outcome

__all__ = ["LIMITS", "a_run", "claimed", "created", "finished", "read", "told"]

LIMITS = Limits()


def a_run(thread_id: str = "", *, due_in: float = 0.0, **more: Any) -> Run:
    """A run to create, by default on a new thread."""
    request = RunRequest(graph="graph", input={"topic": "cats"})
    due_at = now(due_in) if due_in else None
    thread_id = thread_id or new_id()
    return Run(
        id=new_id(),
        thread_id=thread_id,
        request=request,
        assistant_id="assistant",
        due_at=due_at,
        **more,
    )


async def read(log: EventLog, run_id: str, after: int = 0) -> list[Event]:
    """All events of a run, to its end."""
    return [event async for events in log.follow(run_id, after) for event in events]


async def created(home: Home, *runs: Run) -> None:
    """Create runs, in this order."""
    for run in runs:
        await home.store.create(run, LIMITS)


async def claimed(home: Home, server: str = "a", most: int = 10) -> list[Hold]:
    """Claim the runs that a server may claim now."""
    await home.store.heartbeat(server)
    return await home.store.claim(server, most)


async def finished(home: Home, hold: Hold, **outcome: Any) -> None:
    """End a claimed run."""
    writer = await home.log.writer(hold.run.id, hold.epoch)
    made = Outcome(**{"status": "success", **outcome})
    assert await home.store.finish(hold, writer, made)


async def told(home: Home, server: str, count: int) -> list[Run]:
    """The runs that a server has to stop, once there are this many."""
    found = await home.store.cancels(server)
    while len(found) < count:
        await asyncio.wait_for(home.store.work(server), 20)
        found += await home.store.cancels(server)
    return found
