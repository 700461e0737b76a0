"""What a client is sent that asks for a thread's events, by server-sent events or a WebSocket."""

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
"""Seconds after its end for which a run may be news to somebody who does not say what he has."""


async def follow(
    runs: Runs,
    thread_id: str,
    owner: str,
    asked: ThreadEventsAsked,
    ends: Ends,
    frame: Callable[[str, int, bytes], bytes] = as_sse,
) -> ThreadParts:
    """Read a thread from where a client asks for it.

    Args:
        runs: Where the thread's runs are.
        thread_id: The thread.
        owner: Whose it is.
        asked: What the client asks for.
        ends: Is told of each run's end that the reader is told of.
        frame: How an event is written.

    Raises:
        InvalidError: If what is asked for is not there to ask for.
        NotFoundError: If the thread is not there.
    """
    wanted = Subscription(asked.channels, asked.namespaces, asked.depth)
    await runs.thread(thread_id, owner)
    turn, since = await _beginning(runs, thread_id, owner, wanted, asked.since, ends)
    compact = asked.replay == "compact"

    async def begin(run: Run) -> tuple[RunFrames, list[bytes], int]:
        frames = RunFrames(run, wanted, since, frame, ends.tell, adds_up=compact)
        # What comes later is told by what came before.
        if frames.upto is None:
            await scan_so_far(runs.log, run.id, frames.take)
        elif frames.upto:
            await runs.log.scan(run.id, frames.upto, frames.take)
        return frames, frames.taken(), frames.last

    return ThreadParts(runs, thread_id, owner, turn, begin)


async def _beginning(
    runs: Runs, thread_id: str, owner: str, wanted: Subscription, since: int | None, ends: Ends
) -> tuple[int, int]:
    """Where a reader begins: behind the run of this turn, and behind this number.

    Clients read from here on what they have just started, which may be over by now: whoever does
    not say what he has begins with the thread's last run. But Python's client also opens a stream
    of ``lifecycle`` and ``input`` before it starts a run, and takes every end for that run's: he is
    not told of one that somebody was told of already.

    Raises NotFoundError if the thread is not there.
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
