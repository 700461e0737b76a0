"""How long runs and threads are kept: deletes those that are too old or too many."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from tokenweir.serving.problems import NotFoundError
from tokenweir.serving.running.records import Run
from tokenweir.serving.running.runs import Runs

__all__ = ["sweep"]

_PAGE = 100
"""Records per page of a sweep."""


async def sweep(runs: Runs) -> int:
    """Delete ended runs and idle threads by age, number and size; return how many were deleted.

    The oldest go first: runs with their events, threads with their checkpoints. A thread is
    deleted if it has no runs and was not changed for as long as runs are kept, or if the size
    limit is exceeded when its last run goes. The disk space is returned.
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
                break  # the following ones are younger
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
    """Delete the thread of a deleted run if it has no other runs; return whether it was deleted."""
    if run.temporary or await runs.store.runs_of(run.thread_id, run.owner, limit=1):
        return False
    try:
        await runs.forget_thread(run.thread_id, run.owner)
    except NotFoundError:
        return False
    return True
