"""Where a server keeps things: an event log, checkpoints, records. Here in memory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from tokenweir.serving.log.events import EventLog
from tokenweir.serving.log.memory import MemoryLog
from tokenweir.serving.running.checkpoints import MemoryCheckpoints
from tokenweir.serving.running.records import Records

__all__ = ["Home", "in_memory"]


@dataclass(frozen=True)
class Home:
    """Where things are kept: an event log, a checkpointer, records."""

    log: EventLog
    checkpointer: Any
    records: Records


@contextlib.asynccontextmanager
async def in_memory() -> AsyncIterator[Home]:
    """A home in memory: gone with the process."""
    log = MemoryLog()
    try:
        yield Home(log, MemoryCheckpoints(), Records(log))
    finally:
        await log.close()
