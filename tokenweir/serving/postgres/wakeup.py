"""Wakes one waiter; unlike an ``asyncio.Event`` it is reset by the waiter that it wakes."""

from __future__ import annotations

import asyncio

__all__ = ["Wakeup"]


class Wakeup:
    """A notification for one waiter."""

    def __init__(self) -> None:
        self._is_set = False
        self._sleeping: asyncio.Future[None] | None = None

    async def wait(self, timeout: float) -> None:
        """Wait for a notification since the last call, for so many seconds at most."""
        if not self._is_set:
            self._sleeping = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._sleeping], timeout=timeout)
        self._is_set = False

    def set(self) -> None:
        """Wake the waiter, or let its next wait return at once."""
        self._is_set = True
        if self._sleeping is not None and not self._sleeping.done():
            self._sleeping.set_result(None)
