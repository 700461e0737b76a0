"""Remembers which runs' ends were sent to readers, so that no reader takes an old one for new."""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import datetime

from tokenweir.serving.running.records import Run

__all__ = ["Ends"]

_KEPT = 10_000
"""The number of runs that are remembered."""


class Ends:
    """The ends of runs that the readers of one protocol at this server were sent."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, None] = OrderedDict()

    def tell(self, run_id: str) -> None:
        """Note that a reader is sent the end of this run."""
        self._told[run_id] = None
        if len(self._told) > _KEPT:
            self._told.popitem(last=False)

    def was_told(self, run_id: str) -> bool:
        """Whether a reader was sent the end of this run."""
        return run_id in self._told

    def is_news(self, run: Run, seconds: float) -> bool:
        """Whether a run ended within so many seconds, and no reader was sent its end."""
        return not self.was_told(run.id) and self.is_recent(run, seconds)

    def is_recent(self, run: Run, seconds: float) -> bool:
        """Whether a run ended within so many seconds."""
        return time.time() - datetime.fromisoformat(run.updated_at).timestamp() < seconds
