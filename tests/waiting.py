"""Waiting by looking, where no event tells, and taking time, where that is what a test is about.

Tests wait for events. Nothing outside this file sleeps; ``tests/test_waiting.py`` sees to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count

__all__ = ["await_steady", "await_until", "pause", "wait_steady", "wait_until"]

_EVERY = 0.01
"""Seconds between two looks."""

_STEADY = 20
"""A number is steady when so many looks found no other one."""


def wait_until(true: Callable[[], object], seconds: float = 60) -> None:
    """Look until something is true.

    Raises:
        AssertionError: If it is not after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(_EVERY)


async def await_until(true: Callable[[], object], seconds: float = 60) -> None:
    """``wait_until`` in an event loop."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        await asyncio.sleep(_EVERY)


def wait_steady(number: Callable[[], int]) -> int:
    """Look until a number has begun to grow and grows no more: what it is then.

    Nothing tells that nothing happens any more.
    """
    steady = _Steady(number)
    wait_until(steady.look)
    return steady.value


async def await_steady(number: Callable[[], int]) -> int:
    """``wait_steady`` in an event loop."""
    steady = _Steady(number)
    await await_until(steady.look)
    return steady.value


class _Steady:
    def __init__(self, number: Callable[[], int]) -> None:
        self._number = number
        self._looks = count()
        self.value = -1

    def look(self) -> bool:
        now = self._number()
        if now != self.value or not now:
            self._looks = count()
        self.value = now
        return next(self._looks) >= _STEADY


async def pause(seconds: float) -> None:
    """Be slow: a reader, a server or a node that takes so long. Not for waiting for anything."""
    await asyncio.sleep(seconds)
