"""Several senders on one connection send numbered events in one order. No I/O."""

from __future__ import annotations

import asyncio

__all__ = ["Order"]


class Order:
    """Whose turn it is to send.

    A sender that is behind holds back the others: one that has entered and sent nothing may still
    send anything.
    """

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        """By sender, the least number that it may still send."""
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def enter(self, sender: str) -> None:
        """From now on, nobody sends what this sender may have to send before."""
        self._next[sender] = -1

    def leave(self, sender: str) -> None:
        """A sender sends nothing more; it need not have entered."""
        self._next.pop(sender, None)
        self._look()

    def advance(self, sender: str, number: int) -> None:
        """What a sender sends from now on has this number or a greater one."""
        self._next[sender] = number
        self._look()

    async def turn(self, sender: str, number: int) -> None:
        """Wait until every other sender has sent what it has of smaller numbers."""
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
