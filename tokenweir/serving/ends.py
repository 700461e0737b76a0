"""Which runs' ends readers were told of, so that nobody takes an old end for news."""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import datetime

from tokenweir.serving.running.records import Run

__all__ = ["Ends"]

_KEPT = 10_000
"""Runs of which it is remembered that their end was told."""


class Ends:
    """What the readers of one protocol at this server were told."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, None] = OrderedDict()

    def tell(self, run_id: str) -> None:
        """A reader is told of a run's end."""
        self._told[run_id] = None
        if len(self._told) > _KEPT:
            self._told.popitem(last=False)

    def was_told(self, run_id: str) -> bool:
        """Whether a reader was told of a run's end."""
        return run_id in self._told

    def is_news(self, run: Run, seconds: float) -> bool:
        """Whether a run ended in the last so many seconds, and nobody was told of it."""
        return not self.was_told(run.id) and self.is_recent(run, seconds)

    def is_recent(self, run: Run, seconds: float) -> bool:
        """Whether a run ended in the last so many seconds."""
        return time.time() - datetime.fromisoformat(run.updated_at).timestamp() < seconds
