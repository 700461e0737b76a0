"""How long runs and threads are kept: what is over and too old, or too much, is forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from tokenweir.serving.problems import NotFoundError
from tokenweir.serving.running.records import Run
from tokenweir.serving.running.runs import Runs

__all__ = ["sweep"]

_PAGE = 100
"""Records that are looked at at once."""


async def sweep(runs: Runs) -> int:
    """Forget runs that are over, and idle threads, by age, number, and the size of what is kept.

    The oldest go first: runs with their events; a thread, with its checkpoints, when no run of it
    is kept and it has not been touched for as long as a run is kept, or too much is kept when its
    last run goes. How many went. Their space is given back.
    """
    limits, store = runs.limits, runs.store
    oldest = (datetime.now(timezone.utc) - timedelta(seconds=limits.keep_seconds)).isoformat()
    gone, spared, size = 0, 0, await runs.size()
    kept = sum((await store.counts()).runs.values())
    while found := await store.old_runs(_PAGE, spared):
        for run in found:
            too_many = size > limits.keep_bytes or kept > limits.keep_runs
            if too_many or run.updated_at < oldest:
                await runs.forget(run.id, run.owner)
                gone += 1
                kept -= 1
                if size > limits.keep_bytes and await _forget_idle(runs, run):
                    gone += 1
                size = await runs.size()
            elif run.created_at >= oldest:
                break  # and so was what follows
            else:
                spared += 1
        else:
            continue
        break
    while threads := await store.old_threads(oldest, _PAGE):
        for thread in threads:
            await runs.forget_thread(thread.id, thread.owner)
            gone += 1
    await runs.tidy()
    return gone


async def _forget_idle(runs: Runs, run: Run) -> bool:
    """Forget the thread of a run that is gone, if no other run of it is kept; whether it went."""
    if run.temporary or await runs.store.runs_of(run.thread_id, run.owner, limit=1):
        return False
    try:
        await runs.forget_thread(run.thread_id, run.owner)
    except NotFoundError:
        return False
    return True
