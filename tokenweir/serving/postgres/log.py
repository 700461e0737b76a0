"""The event log in Postgres, written by one task: a block for each run with new events.

Every ``_PACE`` seconds the blocks of all runs are written. When an event must be durable, the
block of its run is written at once. A writer whose run another worker has claimed gets an error,
and its unwritten events are dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tokenweir.serving.log.blocks import scan, weight
from tokenweir.serving.log.events import Event, Scanner
from tokenweir.serving.log.tail import Tail
from tokenweir.serving.postgres.carriers import NatsCarrier, NotifyCarrier
from tokenweir.serving.postgres.database import Database
from tokenweir.serving.postgres.event_file import EventFile, Part
from tokenweir.serving.postgres.live import Live
from tokenweir.serving.postgres.notifications import Notifications
from tokenweir.serving.postgres.reader import PostgresReader
from tokenweir.serving.postgres.waiting import is_set_within
from tokenweir.serving.postgres.writer import PostgresWriter
from tokenweir.serving.problems import LostError, StoreError

__all__ = ["PostgresLog"]

_PACE = 0.25
"""Seconds between blocks of all runs."""

_MOST_WAITING = 16 << 20
"""The bytes that may wait before writers have to wait."""

_AT_ONCE = 4 << 20
"""The target size of one statement in bytes; it has one run at least."""

_GAP = 1_000_000
"""After a crash, ids continue at the next multiple of this: more events than can have waited."""

_RETRY = 0.2
"""Seconds until a failed write is tried again."""

_logger = logging.getLogger("tokenweir.serving")


class PostgresLog:
    """The event log of one database's servers, for the workers and readers of this process."""

    def __init__(
        self,
        database: Database,
        notifications: Notifications,
        notify: NotifyCarrier,
        nats: NatsCarrier | None = None,
    ) -> None:
        self.file = EventFile(database)
        self.size = 0
        self._database = database
        self._notifications = notifications
        self._live = Live(notify, nats, readers=notifications.readers, hurry=self.hurry)
        notifications.on_reader = self._is_read
        self._loop = asyncio.get_running_loop()
        self._writers: dict[str, PostgresWriter] = {}
        self._pending: dict[PostgresWriter, None] = {}
        """Writers with waiting events, in the order in which they got them."""
        self._urgent: set[PostgresWriter] = set()
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._all_at = 0.0
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._failing_since: float | None = None
        self._problem: str | None = None
        self._cut = False
        self._writing = self._loop.create_task(self._write_behind())

    # The event log

    async def writer(
        self, run_id: str, epoch: int, on_lost: Callable[[], None] | None = None
    ) -> PostgresWriter:
        before = self._writers.get(run_id)
        if before is not None and before.epoch >= epoch:
            raise LostError
        # The claim has waited for any commit of a writer with a smaller epoch.
        kept = await self.file.kept(run_id, epoch)
        if before is not None:
            self._close(before, lost=True)
        first = (kept // _GAP + 1) * _GAP if epoch > 1 else 0
        writer = PostgresWriter(self, run_id, epoch, on_lost, kept, first)
        self._writers[run_id] = writer
        if self._notifications.readers(run_id):
            self._live.begin(writer)
        self._notifications.wake(run_id)
        return writer

    def follow(self, run_id: str, after: int = 0) -> PostgresReader:
        wakeup = self._notifications.wakeup(run_id)
        return PostgresReader(
            after,
            wakeup,
            self._notifications.mirror(run_id, wakeup),
            tail=lambda: self._tail(run_id),
            page=lambda after: self.file.page(run_id, after),
            reads=lambda: self._notifications.reads(run_id),
            is_cut=lambda: self._cut,
        )

    def _tail(self, run_id: str) -> Tail | None:
        writer = self._writers.get(run_id)
        return None if writer is None else writer.tail

    async def scan(self, run_id: str, upto: int, take: Scanner) -> None:
        def scan_disk(after: int) -> Awaitable[int]:
            return self.file.scan(run_id, after, upto, take)

        await scan(lambda: self._tail(run_id), scan_disk, upto, take)

    async def newest(self, run_id: str, kind: str) -> Event | None:
        writer = self._writers.get(run_id)
        found = writer.tail.newest(kind) if writer is not None else None
        return found or await self.file.newest(run_id, kind)

    async def last_id(self, run_id: str) -> int:
        writer = self._writers.get(run_id)
        if writer is not None:
            return writer.tail.shown
        return await self.file.last_id(run_id)

    def cut_off(self) -> None:
        self._cut = True
        for writer in self._writers.values():
            writer.tail.suspend()
        self._notifications.wake_all()

    @property
    def problem(self) -> str | None:
        return self._problem or self._notifications.problem

    async def tidy(self) -> None:
        sql = "select coalesce(sum(size), 0)::bigint from tokenweir_runs"
        self.size = int((await self._database.rows(sql))[0][0])

    async def close(self) -> None:
        self._writing.cancel()
        await asyncio.wait([self._writing])
        await self._live.close()
        try:
            await self._write(list(self._pending))
        except StoreError as error:
            _logger.error("events were lost: %s", error.__cause__)
        self.cut_off()

    # For the store

    @property
    def written(self) -> list[str]:
        """The runs that have a writer here."""
        return list(self._writers)

    def drop(self, run_id: str, epoch: int) -> None:
        """Drop the writer of a run with this epoch, as the run has ended or was given back."""
        writer = self._writers.get(run_id)
        if writer is not None and writer.epoch == epoch:
            self._close(writer, lost=False)

    # For writers

    @property
    def full(self) -> bool:
        return self._waiting_bytes > _MOST_WAITING

    async def ready(self) -> None:
        await self._room.wait()

    def wrote(self, writer: PostgresWriter, size: int, *, urgent: bool) -> None:
        self._waiting_bytes += size
        if self._waiting_bytes > _MOST_WAITING:
            self._room.clear()
        self._pending[writer] = None
        if urgent:
            self.hurry(writer)
        else:
            self._wake.set()
            self._live.said(writer)

    def hurry(self, writer: PostgresWriter) -> None:
        self._urgent.add(writer)
        self._hurry.set()
        self._wake.set()

    # Inside

    def _close(self, writer: PostgresWriter, *, lost: bool) -> None:
        """Remove a writer; its unwritten events are dropped."""
        if self._writers.get(writer.run) is writer:
            del self._writers[writer.run]
        self._pending.pop(writer, None)
        self._urgent.discard(writer)
        self._live.end(writer)
        self._waited(sum(map(weight, writer.waiting)))
        if lost:
            writer.lose()
        else:
            writer.close()
        self._notifications.wake(writer.run)

    def _is_read(self, run_id: str) -> None:
        if (writer := self._writers.get(run_id)) is not None:
            self._live.begin(writer)

    def _waited(self, size: int) -> None:
        self._waiting_bytes -= size
        if self._waiting_bytes <= _MOST_WAITING:
            self._room.set()

    async def _write_behind(self) -> None:
        while True:
            await self._wake.wait()
            if (left := self._all_at - self._loop.time()) > 0:
                await is_set_within(self._hurry, left)
            self._hurry.clear()
            now = self._loop.time()
            if now >= self._all_at:
                self._all_at = now + _PACE
                writers = list(self._pending)
            else:
                writers = [each for each in self._pending if each in self._urgent]
            self._urgent.difference_update(writers)
            if len(writers) == len(self._pending):
                self._wake.clear()
            try:
                await self._write(writers)
            except StoreError as error:
                self._failed(error)
                await asyncio.sleep(_RETRY)
            except Exception as error:
                _logger.error("events cannot be written; runs wait", exc_info=error)
                self._failed(error)
                await asyncio.sleep(_RETRY)

    async def _write(self, writers: list[PostgresWriter]) -> None:
        """Write the waiting events of these writers."""
        while writers:
            parts, size = dict[PostgresWriter, Part](), 0
            while writers and size < _AT_ONCE:
                writer = writers.pop(0)
                if not writer.lost:
                    parts[writer] = Part(writer.run, writer.epoch, list(writer.waiting))
                    size += sum(map(weight, writer.waiting))
            async with self._database.connection() as connection:
                held = await self.file.write(connection, list(parts.values()))
            self._failing_since = self._problem = None
            for writer, part in parts.items():
                if writer.lost:
                    continue
                if writer.run not in held:
                    self._close(writer, lost=True)
                    continue
                del writer.waiting[: len(part.events)]
                if not writer.waiting:
                    self._pending.pop(writer, None)
                if part.events:
                    self._waited(sum(map(weight, part.events)))
                    writer.are_saved(part.events[-1])
                    self._live.said(writer)

    def _failed(self, error: Exception) -> None:
        now = self._loop.time()
        if self._failing_since is None:
            _logger.error("events cannot be written; runs wait: %s", error.__cause__)
            self._failing_since = now
        self._problem = str(error.__cause__ or error)
        self._all_at = 0.0
        self._wake.set()
        if now - self._failing_since > self._database.lease:
            for writer in self._pending:
                writer.fail()
