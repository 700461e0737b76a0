"""Where somebody stands who waits for news of a run."""

from __future__ import annotations

import asyncio

__all__ = ["Place"]


class Place:
    """One who waits, and is told that there may be something new."""

    def __init__(self) -> None:
        self._look = False
        self._sleeping: asyncio.Future[None] | None = None

    async def wait(self, timeout: float) -> None:
        """Wait until there may be something new since the last call, so many seconds at most."""
        if not self._look:
            self._sleeping = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._sleeping], timeout=timeout)
        self._look = False

    def look(self) -> None:
        """There may be something new."""
        self._look = True
        if self._sleeping is not None and not self._sleeping.done():
            self._sleeping.set_result(None)
