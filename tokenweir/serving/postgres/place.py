"""Wakes one waiter for news of a run."""

from __future__ import annotations

import asyncio

__all__ = ["Place"]


class Place:
    """Where one waiter for a run sleeps until it is notified."""

    def __init__(self) -> None:
        self._look = False
        self._sleeping: asyncio.Future[None] | None = None

    async def wait(self, timeout: float) -> None:
        """Wait for a notification since the last call, for so many seconds at most."""
        if not self._look:
            self._sleeping = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._sleeping], timeout=timeout)
        self._look = False

    def look(self) -> None:
        """Notify the waiter that there may be something new."""
        self._look = True
        if self._sleeping is not None and not self._sleeping.done():
            self._sleeping.set_result(None)
