"""Rules of every store: what it refuses, and how runs change their thread. No I/O."""

from __future__ import annotations

from tokenweir.serving.problems import ConflictError, Limits, TooBusyError, TooManyError
from tokenweir.serving.running.records import Run, Thread, ThreadStatus, now
from tokenweir.serving.running.store import Outcome

__all__ = [
    "check_assistants",
    "check_queue",
    "check_strategy",
    "check_threads",
    "run_ends",
    "run_is_created",
]

_STATUSES: dict[str, ThreadStatus] = {"success": "idle", "interrupted": "interrupted"}


def check_queue(run: Run, limits: Limits, *, waiting: int, delayed: int) -> None:
    """Raise TooManyError or TooBusyError if the owner has too many runs for a new one.

    Args:
        run: The new run.
        limits: The limits.
        waiting: The number of the owner's pending runs that are due.
        delayed: The number of those that are not due.
    """
    if run.due_at is not None and delayed >= limits.delayed:
        raise TooManyError(
            f"{delayed} runs are waiting for their time (after_seconds), which is the limit; "
            "cancel some, or wait until some are due"
        )
    if waiting >= limits.queue:
        raise TooBusyError("too many runs are waiting; try again later")


def check_strategy(run: Run, *, busy: bool) -> None:
    """Raise ConflictError if a new run must not wait and its thread is busy."""
    if run.strategy == "reject" and busy:
        raise ConflictError("the thread is busy with another run; wait for it, or cancel it")


def check_threads(count: int, limits: Limits) -> None:
    """Raise ConflictError if an owner with this many threads may not have another."""
    if count >= limits.threads:
        raise ConflictError(
            f"there are already {limits.threads} threads, which is the limit; delete some first"
        )


def check_assistants(count: int, most: int | None) -> None:
    """Raise ConflictError if an owner with this many assistants may not have another."""
    if most is not None and count >= most:
        raise ConflictError(f"there are already {most} assistants; delete one first")


def run_is_created(thread: Thread, run: Run) -> None:
    """Update a thread when a run is created on it."""
    thread.graph = run.request.graph
    about = {"graph_id": run.request.graph, "assistant_id": run.assistant_id}
    thread.metadata = {**thread.metadata, **about}  # copies of a thread share the old one
    if run.due_at is None:
        thread.status = "busy"


def run_ends(thread: Thread, outcome: Outcome, *, busy: bool) -> None:
    """Update a thread when a run of it ends; ``busy`` if another one is due."""
    over = _STATUSES.get(outcome.status, "error")
    if outcome.status == "interrupted" and not outcome.next:
        over = "idle"
    thread.status = "busy" if busy else over
    if outcome.values is not None:
        thread.values = outcome.values
    thread.interrupts = outcome.interrupts
    thread.error = outcome.error
    thread.state_updated_at = now()
