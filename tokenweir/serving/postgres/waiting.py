"""Waiting for an event, so many seconds at most."""

from __future__ import annotations

import asyncio

__all__ = ["is_set_within"]


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait until an event is set, so many seconds at most; whether it is.

    Before Python 3.12 ``asyncio.wait_for`` is not cancelled if the event is set in the same moment:
    a loop around it would go on for ever.
    """
    if event.is_set():
        return True
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([waiting], timeout=seconds)
    finally:
        waiting.cancel()
    return event.is_set()
