"""What every store refuses, and what becomes of a thread with its runs. No I/O."""

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
    """Raise TooManyError or TooBusyError if an owner has too many runs for a new one.

    Args:
        run: The new run.
        limits: How many are allowed.
        waiting: The owner's pending runs that are due.
        delayed: Those that are not due.
    """
    if run.due_at is not None and delayed >= limits.delayed:
        raise TooManyError(
            f"{delayed} runs wait for their time (after_seconds) already, which is the most; "
            "cancel some, or wait until some are due"
        )
    if waiting >= limits.queue:
        raise TooBusyError("too many runs are waiting; try again later")


def check_strategy(run: Run, *, busy: bool) -> None:
    """Raise ConflictError if a new run is not to wait, and its thread is busy."""
    if run.strategy == "reject" and busy:
        raise ConflictError("the thread is busy with another run; wait for it, or cancel it")


def check_threads(count: int, limits: Limits) -> None:
    """Raise ConflictError if an owner of so many threads may not have another one."""
    if count >= limits.threads:
        raise ConflictError(
            f"there are {limits.threads} threads already, which is the most; delete some"
        )


def check_assistants(count: int, most: int | None) -> None:
    """Raise ConflictError if an owner of so many assistants may not have another one."""
    if most is not None and count >= most:
        raise ConflictError(f"there are {most} assistants already; delete one first")


def run_is_created(thread: Thread, run: Run) -> None:
    """Change a thread on which a run is created."""
    thread.graph = run.request.graph
    about = {"graph_id": run.request.graph, "assistant_id": run.assistant_id}
    thread.metadata = {**thread.metadata, **about}  # copies of a thread share the old one
    if run.due_at is None:
        thread.status = "busy"


def run_ends(thread: Thread, outcome: Outcome, *, busy: bool) -> None:
    """Change a thread of which a run ends; ``busy`` if another one is due."""
    over = _STATUSES.get(outcome.status, "error")
    if outcome.status == "interrupted" and not outcome.next:
        over = "idle"
    thread.status = "busy" if busy else over
    if outcome.values is not None:
        thread.values = outcome.values
    thread.interrupts = outcome.interrupts
    thread.error = outcome.error
    thread.state_updated_at = now()
