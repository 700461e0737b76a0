"""Clocks that end a wait: a deadline for tasks, and a watchdog for threads.

Both are set before every token and go off almost never, so setting one is all but free: a timer
that went off too early is set anew, and no timer is made per token.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import sys
import threading
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

__all__ = ["Alarm", "Deadline"]


class Deadline:
    """Cancels the task that waits for longer than it may.

    Args:
        shortest: The shortest wait in seconds that is to come, so that one timer does for all.
    """

    __slots__ = ("_at", "_handle", "_loop", "_over", "_shortest", "_task")

    def __init__(self, shortest: float = math.inf) -> None:
        self._shortest = shortest
        self._at = math.inf
        self._handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = False
        self._task: asyncio.Task[Any] | None = None

    def start(self, seconds: float) -> None:
        """Begin a wait of the running task."""
        if seconds == math.inf:
            return
        loop = self._loop = asyncio.get_running_loop()
        now = loop.time()
        self._at = now + seconds
        self._task = asyncio.current_task(loop)
        if self._handle is None or self._handle.when() > self._at:
            self.cancel()
            at = now + min(seconds, self._shortest)
            # A cancelled timer is kept until its time; with this context it would keep the run.
            self._handle = loop.call_at(at, self._ring, loop, context=Context())

    def extend(self, seconds: float) -> None:
        """Begin the wait of the task that waits anew."""
        if seconds != math.inf and self._loop is not None:
            self._at = self._loop.time() + seconds

    def stop(self) -> None:
        """End the wait."""
        self._task = None

    def is_over(self) -> bool:
        """Whether the cancellation just caught was this one's, and nobody else's too."""
        if not self._over:
            return False
        self._over = False
        task = asyncio.current_task()
        if sys.version_info >= (3, 11) and task is not None:
            return task.uncancel() == 0
        return True

    def cancel(self) -> None:
        """Let go of the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = None
        if self._task is None:
            return
        if loop.time() < self._at:
            self._handle = loop.call_at(self._at, self._ring, loop, context=Context())
        else:
            self._over = True
            self._task.cancel()


class Alarm:
    """Calls ``ring`` from the watchdog's thread when a wait takes too long."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring: Callable[[], None] | None = ring
        self.at = math.inf
        self.set_for = math.inf
        self.rang = False
        self.lock = threading.Lock()

    def start(self, seconds: float) -> None:
        """Begin a wait."""
        self.rang = False
        self.at = time.monotonic() + seconds
        if self.at < self.set_for:
            _watchdog.watch(self)

    def stop(self) -> bool:
        """End the wait; whether it had taken too long."""
        with self.lock:
            self.at = math.inf
            return self.rang


class _Watchdog:
    """One thread for all alarms; started by the first."""

    def __init__(self) -> None:
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, alarm: Alarm) -> None:
        with self._news:
            alarm.set_for = alarm.at
            heapq.heappush(self._alarms, (alarm.at, next(self._numbers), alarm))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="tokenweir-watchdog", daemon=True
                )
                self._thread.start()
            self._news.notify()

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._alarms or self._alarms[0][0] > time.monotonic():
                    first = self._alarms[0][0] - time.monotonic() if self._alarms else None
                    self._news.wait(first)
                _, _, alarm = heapq.heappop(self._alarms)
                alarm.set_for = math.inf
            with alarm.lock:
                if alarm.at == math.inf:
                    continue
                late = alarm.at <= time.monotonic()
                alarm.rang = late
                if late and alarm.ring is not None:
                    alarm.ring()
            if not late:
                self.watch(alarm)


_watchdog = _Watchdog()
