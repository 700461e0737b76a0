"""Writers of the runs of one process: of each run the last one that was asked for writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tokenweir.serving.log.events import Envelope, Event
from tokenweir.serving.problems import LostError

__all__ = ["LocalWriter", "Writers"]


class _Log(Protocol):
    """What writes events by the id of their run."""

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

    What was appended before another worker took the run over stays, in front of what that one
    appends: nothing is lost between two workers of one process.
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
            raise LostError(f"run {self._run_id} is another worker's now")
        return self._append(self._run_id, kind, body, envelope=envelope, durable=durable)

    @property
    def full(self) -> bool:
        return self._log.full

    async def ready(self) -> None:
        await self._log.ready()

    async def saved(self) -> None:
        await self._log.saved(self._run_id)
        if self.lost:
            raise LostError(f"run {self._run_id} is another worker's now")

    def lose(self) -> None:
        """Refuse what comes from now on."""
        self.lost = True
        if self._on_lost is not None:
            self._on_lost()


class Writers:
    """Who writes which run."""

    def __init__(self) -> None:
        self._by_run: dict[str, LocalWriter] = {}

    def enter(
        self, log: _Log, run_id: str, epoch: int, on_lost: Callable[[], None] | None
    ) -> LocalWriter:
        """A writer in place of the one before it. Raises LostError if that has a greater epoch."""
        before = self._by_run.get(run_id)
        if before is not None and before.epoch >= epoch:
            raise LostError(f"run {run_id} is another worker's now")
        writer = self._by_run[run_id] = LocalWriter(log, run_id, epoch, on_lost)
        if before is not None:
            before.lose()
        return writer

    def leave(self, run_id: str) -> None:
        """Nobody writes a run any more: it has ended, or was deleted."""
        self._by_run.pop(run_id, None)
