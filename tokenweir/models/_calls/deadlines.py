"""Deadlines that end a wait: one for tasks, and a watchdog for threads.

A wait begins with every token and almost never takes too long, so beginning one must cost nearly
nothing. Therefore no timer is made per token; a timer that fires too early is set again.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import sys
import threading
from collections.abc import Awaitable, Callable
from contextvars import Context
from time import monotonic
from typing import Any, TypeVar

from tokenweir.models._calls.state import CallState

__all__ = ["Alarm", "Deadline"]

T = TypeVar("T")


class Deadline:
    """The limit of one call, while its task waits for the provider.

    Only waiting counts: no limit applies while the reader is slow.

    Args:
        state: The call's state; says which limit applies.
        slack: Seconds by which events may arrive later than the provider sent them.

    Attributes:
        began: When the wait for the next token began, by ``time.monotonic``. Code that takes a
            token while the task waits sets it again.
        waited: Seconds already waited for the next token before this wait.
    """

    __slots__ = (
        "_handle",
        "_limit",
        "_over",
        "_rings",
        "_slack",
        "_state",
        "_task",
        "began",
        "waited",
    )

    def __init__(self, state: CallState, slack: float = 0.0) -> None:
        self._state = state
        self._slack = slack
        self._limit = math.inf
        self._handle: asyncio.TimerHandle | None = None
        self._rings = math.inf
        self._over = False
        self._task: asyncio.Task[Any] | None = None
        self.began = 0.0
        self.waited = 0.0

    def restart(self) -> None:
        """A token has come, or a new attempt begins."""
        self.waited = 0.0

    async def wait_for(self, awaited: Awaitable[T]) -> T:
        """Await in the running task; raises the state's ``timeout_error`` at the limit."""
        self._limit = self._state.limit + self._slack
        self.began = monotonic() - self.waited
        self._task = asyncio.current_task()
        if self.began + self._limit < self._rings:
            self._set_timer(asyncio.get_running_loop())
        try:
            return await awaited
        except asyncio.CancelledError:
            if self._is_over():
                raise self._state.timeout_error() from None
            raise
        finally:
            self.waited = monotonic() - self.began
            self._task = None

    def cancel(self) -> None:
        """Drop the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._rings = math.inf

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self.cancel()
        # The gap's limit is the shorter one to come, so that one timer does for both.
        self._rings = self.began + min(self._limit, self._state.policy.gap + self._slack)
        # A cancelled timer is kept until its time; in this context it would keep the run.
        delay = self._rings - monotonic()
        self._handle = loop.call_later(delay, self._ring, loop, context=Context())

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = None
        self._rings = math.inf
        if self._task is None:
            return
        left = self.began + self._limit - monotonic()
        if left > 0:
            self._rings = self.began + self._limit
            self._handle = loop.call_later(left, self._ring, loop, context=Context())
        else:
            self._over = True
            self._task.cancel()

    def _is_over(self) -> bool:
        """Whether the cancellation just caught was this deadline's alone."""
        if not self._over:
            return False
        self._over = False
        if sys.version_info >= (3, 11) and self._task is not None:
            return self._task.uncancel() == 0
        return True


class Alarm:
    """The limit of one call while its thread waits for the provider: ``with alarm: receive()``.

    Only waiting counts, as with ``Deadline``. At the limit the watchdog's thread calls ``ring``,
    and the block raises the state's ``timeout_error``.

    Args:
        state: The call's state; says which limit applies.
        ring: Ends the wait, from another thread.
    """

    def __init__(self, state: CallState, ring: Callable[[], None]) -> None:
        self.ring: Callable[[], None] | None = ring
        self.at = math.inf
        self.set_for = math.inf
        self.rang = False
        self.lock = threading.Lock()
        self._state = state
        self._began = 0.0
        self._waited = 0.0

    def restart(self) -> None:
        """A token has come, or a new attempt begins."""
        self._waited = 0.0

    def __enter__(self) -> None:
        self.rang = False
        self._began = monotonic()
        self.at = self._began + max(0.0, self._state.limit - self._waited)
        if self.at < self.set_for:
            _watchdog.watch(self)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        with self.lock:
            self.at = math.inf
            rang = self.rang
        self._waited += monotonic() - self._began
        if rang:
            raise self._state.timeout_error() from error

    def let_go(self) -> None:
        """End the alarm with its call; the watchdog may keep it until its time."""
        self.ring = None


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
                while not self._alarms or self._alarms[0][0] > monotonic():
                    first = self._alarms[0][0] - monotonic() if self._alarms else None
                    self._news.wait(first)
                _, _, alarm = heapq.heappop(self._alarms)
                alarm.set_for = math.inf
            with alarm.lock:
                if alarm.at == math.inf:
                    continue
                late = alarm.at <= monotonic()
                alarm.rang = late
                if late and alarm.ring is not None:
                    alarm.ring()
            if not late:
                self.watch(alarm)


_watchdog = _Watchdog()
