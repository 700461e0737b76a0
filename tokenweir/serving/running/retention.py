"""How long runs and threads are kept: what is over and too old, or too much, is forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from tokenweir.serving.running.runs import Runs

__all__ = ["sweep"]


async def sweep(runs: Runs) -> int:
    """Forget runs that are over, and idle threads, by age, number, and the size of what is kept.

    The oldest go first: runs with their events; a thread, with its checkpoints, when no run of it
    is kept and it has not been touched for as long as a run is kept, or too much is kept when its
    last run goes. How many went. Their space is given back.
    """
    limits, records = runs.limits, runs.records
    oldest = (datetime.now(timezone.utc) - timedelta(seconds=limits.keep_seconds)).isoformat()
    gone = 0
    size = await runs.size()
    for run in records.runs.all():
        if not run.final or runs.worker.holds(run.id):
            continue
        too_many = size > limits.keep_bytes or len(records.runs) > limits.keep_runs
        if too_many or run.updated_at < oldest:
            await runs.forget(run.id, run.owner)
            gone += 1
            thread = records.threads.get(run.thread_id)
            if size > limits.keep_bytes and thread and not records.runs.on_thread(thread.id):
                await runs.forget_thread(thread.id, thread.owner)
                gone += 1
            size = await runs.size()
        elif run.created_at >= oldest:
            break  # and so was what follows
    for thread in records.threads.all():
        if thread.updated_at < oldest and not records.runs.on_thread(thread.id):
            await runs.forget_thread(thread.id, thread.owner)
            gone += 1
    await runs.tidy()
    return gone
