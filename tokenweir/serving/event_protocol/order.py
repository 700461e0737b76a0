"""Several senders on one connection send numbered events in one order. No I/O."""

from __future__ import annotations

import asyncio

__all__ = ["Order"]


class Order:
    """Lets the sender with the smallest number send first.

    A sender that is behind holds back the others. One that has entered and sent nothing holds back
    all, as it may still send any number.
    """

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        """The smallest number that each sender may still send."""
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def enter(self, sender: str) -> None:
        """Hold back all other senders until this one advances or leaves."""
        self._next[sender] = -1

    def leave(self, sender: str) -> None:
        """Note that a sender sends nothing more; it need not have entered."""
        self._next.pop(sender, None)
        self._look()

    def advance(self, sender: str, number: int) -> None:
        """Note that a sender sends only this number and greater ones from now on."""
        self._next[sender] = number
        self._look()

    async def turn(self, sender: str, number: int) -> None:
        """Wait until no other sender may still send a smaller number."""
        self.advance(sender, number)
        while number > min(self._next.values()):
            waiting = self._waiting[sender] = asyncio.get_running_loop().create_future()
            try:
                await waiting
            finally:
                del self._waiting[sender]

    def _look(self) -> None:
        for sender, waiting in self._waiting.items():
            if not waiting.done() and self._next[sender] <= min(self._next.values()):
                waiting.set_result(None)
