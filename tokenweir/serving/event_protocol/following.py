"""Starts a reader of a thread's events, for server-sent events or a WebSocket."""

from __future__ import annotations

from collections.abc import Callable

from tokenweir.serving.ends import Ends
from tokenweir.serving.event_protocol.frames import RunFrames, as_sse
from tokenweir.serving.event_protocol.numbers import turn_of
from tokenweir.serving.event_protocol.reader import ThreadParts
from tokenweir.serving.event_protocol.schema import ThreadEventsAsked
from tokenweir.serving.event_protocol.subscription import Subscription
from tokenweir.serving.log.events import scan_so_far
from tokenweir.serving.running.records import Run
from tokenweir.serving.running.runs import Runs

__all__ = ["follow"]

_FRESH = 5.0
"""Seconds for which the end of a run is still sent to a client that gives no ``since``."""


async def follow(
    runs: Runs,
    thread_id: str,
    owner: str,
    asked: ThreadEventsAsked,
    ends: Ends,
    frame: Callable[[str, int, bytes], bytes] = as_sse,
) -> ThreadParts[RunFrames]:
    """Start a reader of a thread at the position that a client asks for.

    Args:
        runs: The service that has the thread's runs.
        thread_id: The thread.
        owner: The owner of the thread.
        asked: The client's request.
        ends: Notes each run whose end is sent to the reader.
        frame: Writes an event from its method, its number and its JSON.

    Raises:
        InvalidError: If a channel is unknown, or none is named.
        NotFoundError: If the owner has no such thread.
    """
    wanted = Subscription(asked.channels, asked.namespaces, asked.depth)
    await runs.thread(thread_id, owner)
    turn, since = await _beginning(runs, thread_id, owner, wanted, asked.since, ends)
    compact = asked.replay == "compact"

    async def begin(run: Run) -> tuple[RunFrames, list[bytes], int]:
        frames = RunFrames(run, wanted, since, frame, ends.tell, compact=compact)
        # Earlier events of a run determine how later ones are written.
        if frames.upto is None:
            await scan_so_far(runs.log, run.id, frames.take)
        elif frames.upto:
            await runs.log.scan(run.id, frames.upto, frames.take)
        return frames, frames.taken(), frames.last

    return ThreadParts(runs, thread_id, owner, turn, begin)


async def _beginning(
    runs: Runs, thread_id: str, owner: str, wanted: Subscription, since: int | None, ends: Ends
) -> tuple[int, int]:
    """The position to read from: after the run of this turn, and after this number.

    Clients subscribe after they start a run, and a short run may be over by then. Without
    ``since``, a reader therefore starts with the thread's last run. Python's client, however,
    also subscribes to ``lifecycle`` and ``input`` before it starts a run, and takes any end for
    the end of that run. Such a reader skips a last run whose end was sent to a reader before.

    Raises NotFoundError if the thread does not exist.
    """
    if since is not None:
        return turn_of(since) - 1, since
    latest = await runs.store.latest(thread_id, owner)
    if latest is None:
        return 0, 0
    asks = latest.status == "interrupted" and not latest.stopping
    if wanted.only_watches and latest.final and not asks and not ends.is_news(latest, _FRESH):
        return latest.turn, 0
    return latest.turn - 1, 0
