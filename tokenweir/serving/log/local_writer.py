"""Writers of the runs of one process; of each run, only the latest writer may write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tokenweir.serving.log.events import Envelope, Event
from tokenweir.serving.problems import LostError

__all__ = ["LocalWriter", "Writers"]


class _Log(Protocol):
    """The part of a log that appends events by run id."""

    def append(
        self,
        run_id: str,
        kind: str,
        body: bytes,
        *,
        envelope: Envelope | None = None,
        durable: bool = False,
    ) -> Event: ...

    @property
    def full(self) -> bool: ...

    async def ready(self) -> None: ...

    async def saved(self, run_id: str | None = None, *, patient: bool = True) -> None: ...


class LocalWriter:
    """An ``EventWriter`` of a log in this process.

    What it appended before another worker claimed the run is kept, before that worker's events:
    between two workers of one process nothing is lost.
    """

    __slots__ = ("_append", "_log", "_on_lost", "_run_id", "epoch", "kept", "lost")

    def __init__(
        self, log: _Log, run_id: str, epoch: int, on_lost: Callable[[], None] | None
    ) -> None:
        self.kept = 0
        self.epoch = epoch
        self.lost = False
        self._log = log
        self._append = log.append
        self._run_id = run_id
        self._on_lost = on_lost

    def append(
        self, kind: str, body: bytes, *, envelope: Envelope | None = None, durable: bool = False
    ) -> Event:
        if self.lost:
            raise LostError
        return self._append(self._run_id, kind, body, envelope=envelope, durable=durable)

    @property
    def full(self) -> bool:
        return self._log.full

    async def ready(self) -> None:
        await self._log.ready()

    async def saved(self) -> None:
        await self._log.saved(self._run_id)
        if self.lost:
            raise LostError

    def lose(self) -> None:
        """Refuse all further events."""
        self.lost = True
        if self._on_lost is not None:
            self._on_lost()


class Writers:
    """The current writer of each run."""

    def __init__(self) -> None:
        self._by_run: dict[str, LocalWriter] = {}

    def enter(
        self, log: _Log, run_id: str, epoch: int, on_lost: Callable[[], None] | None
    ) -> LocalWriter:
        """A writer that replaces an earlier one. Raises LostError if that has no smaller epoch."""
        before = self._by_run.get(run_id)
        if before is not None and before.epoch >= epoch:
            raise LostError
        writer = self._by_run[run_id] = LocalWriter(log, run_id, epoch, on_lost)
        if before is not None:
            before.lose()
        return writer

    def leave(self, run_id: str) -> None:
        """Drop the writer of a run that has ended or was deleted."""
        self._by_run.pop(run_id, None)
