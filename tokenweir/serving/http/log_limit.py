"""Limits log lines that any client can cause: a few of each kind pass, the others are counted.

uvicorn logs everything that is not a request; a malicious client could fill a disk that way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter

__all__ = ["LogLimit"]


class LogLimit(logging.Filter):
    """A logging filter that passes a few records of each kind per period, and counts the others.

    A kind is a message without its values. When the period is over, one line per kind reports what
    was held back. A period begins with its first record and is timed by the event loop.
    """

    def __init__(self, logger: logging.Logger, first: int = 5, period: float = 60.0) -> None:
        """
        logger: The logger for the reports.
        first: How many records of a kind pass in a period.
        period: Seconds.
        """
        super().__init__()
        self._logger = logger
        self._first = first
        self._period = period
        self._seen: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._telling = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes."""
        if self._telling:
            return True
        if self._timer is None:
            with contextlib.suppress(RuntimeError):  # without a loop, only ``tell`` ends the period
                self._timer = asyncio.get_running_loop().call_later(self._period, self.tell)
        self._seen[str(record.msg)] += 1
        return self._seen[str(record.msg)] <= self._first

    def tell(self) -> None:
        """End the period, and report what was held back, one line per kind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        seen, self._seen = self._seen, Counter()
        self._telling = True
        try:
            for kind, count in seen.items():
                if count > self._first:
                    more = count - self._first
                    self._logger.warning("%s (%d more times, not shown)", kind.strip(), more)
        finally:
            self._telling = False
