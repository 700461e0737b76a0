"""Log lines that anybody can cause: the first few of a kind pass, of the others their number.

uvicorn warns of everything that is no request. A client that means harm could fill a disk so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter

__all__ = ["LogLimit"]


class LogLimit(logging.Filter):
    """A filter of a logger: a few records of each kind pass in each period, the others are counted.

    A kind is a message without its values. What was held back is told in one line when the period
    is over, which begins with the first record and is timed by the event loop.
    """

    def __init__(self, logger: logging.Logger, first: int = 5, period: float = 60.0) -> None:
        """
        Args:
            logger: What the summary is told to.
            first: How many of a kind pass in a period.
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
            with contextlib.suppress(RuntimeError):  # no loop: ``tell`` ends the period
                self._timer = asyncio.get_running_loop().call_later(self._period, self.tell)
        self._seen[str(record.msg)] += 1
        return self._seen[str(record.msg)] <= self._first

    def tell(self) -> None:
        """End the period: tell what was held back, one line for each kind."""
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
