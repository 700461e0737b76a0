"""The storage of a server: records, an event log, checkpoints, items. Here: in memory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tokenweir.serving.log.events import EventLog
from tokenweir.serving.log.memory import MemoryLog
from tokenweir.serving.running.checkpoints import Checkpoints, MemoryCheckpoints
from tokenweir.serving.running.items import Items, items_in_memory
from tokenweir.serving.running.local_store import LocalStore
from tokenweir.serving.running.store import Store

__all__ = ["Home", "in_memory"]


@dataclass(frozen=True)
class Home:
    """The storage of a server: records, an event log, checkpoints, and LangGraph's items."""

    store: Store
    log: EventLog
    checkpoints: Checkpoints
    items: Items = field(default_factory=items_in_memory)


@contextlib.asynccontextmanager
async def in_memory() -> AsyncIterator[Home]:
    """A home in memory; its data are lost when the process ends."""
    log = MemoryLog()
    try:
        yield Home(LocalStore(log), log, MemoryCheckpoints())
    finally:
        await log.close()
