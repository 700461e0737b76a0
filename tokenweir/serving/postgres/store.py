"""The store in Postgres: runs, for the clients and workers of all servers.

A transaction that changes a thread and its runs locks the thread's row first, then the runs'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, cast

from tokenweir.serving.log.events import END, EventWriter
from tokenweir.serving.postgres import turns
from tokenweir.serving.postgres.claims import RUN, claim, give_back, give_back_lost, stop_earlier
from tokenweir.serving.postgres.database import Connection, Database
from tokenweir.serving.postgres.event_file import Part
from tokenweir.serving.postgres.log import PostgresLog
from tokenweir.serving.postgres.notifications import Notifications
from tokenweir.serving.postgres.records import PostgresRecords, put_thread
from tokenweir.serving.postgres.rows import encode, run_of, thread_of
from tokenweir.serving.postgres.session import Session
from tokenweir.serving.postgres.status import COUNTS, counts_of
from tokenweir.serving.postgres.waiting import is_set_within
from tokenweir.serving.postgres.writer import PostgresWriter
from tokenweir.serving.problems import (
    ConflictError,
    CutOffError,
    Limits,
    LostError,
    NotFoundError,
    StoreError,
)
from tokenweir.serving.running.encoding import encode as encode_event
from tokenweir.serving.running.records import Run, Thread, now
from tokenweir.serving.running.store import Counts, Hold, Outcome
from tokenweir.serving.running.store_rules import (
    check_queue,
    check_strategy,
    run_ends,
    run_is_created,
)

__all__ = ["PostgresStore"]

_LOOK = 0.5
"""Seconds after which a worker polls for runs that became due, or whose servers died."""

_WAIT = 1.0
"""Seconds after which a waiter polls the store even without a notification."""

_BEGIN = "thread:"
"""Prefix of the notification that a run of a thread has begun; the thread's id follows."""

_SHOWN = 10.0
"""Seconds for which an undone run is kept, hidden, so that readers see its end."""

_OPEN = "status in ('pending', 'running')"
_THERE = f"not (r.undone and not r.{_OPEN})"


class PostgresStore(PostgresRecords):
    """A store that several servers share."""

    def __init__(
        self, database: Database, session: Session, notifications: Notifications, log: PostgresLog
    ) -> None:
        super().__init__(database, session, notifications)
        self._log = log
        self._work: dict[str, asyncio.Event] = {}
        self._stopped = False

    # Runs, for clients

    async def create(self, run: Run, limits: Limits) -> None:
        async with self._database.transaction() as connection:
            await self._admit(connection, run, limits)
            sql = (
                "insert into tokenweir_runs (id, thread, owner, due, strategy, updated_at, record) "
                "values (%s, %s, %s, coalesce(%s::timestamptz, clock_timestamp()), %s, %s, %s)"
            )
            values = (run.id, run.thread_id, run.owner, run.due_at, run.strategy, run.updated_at)
            await connection.execute(sql, (*values, encode(run)))
            if run.strategy in ("interrupt", "rollback"):
                await stop_earlier(connection, now())
        self._notifications.wake_workers()
        self._notifications.notify_soon("work")

    async def _admit(self, connection: Connection, run: Run, limits: Limits) -> None:
        """Check that a new run is allowed; create its thread, or lock and update it."""
        sql = (
            "select count(*) filter (where due <= now()), count(*) filter (where due > now()) "
            f"from tokenweir_runs where owner = %s and {_OPEN} and status = 'pending'"
        )
        found = await connection.execute(sql, (run.owner,))
        ((waiting, delayed),) = await found.fetchall()
        check_queue(run, limits, waiting=waiting, delayed=delayed)
        thread = await self._thread_for(connection, run, limits)
        sql = (
            f"select owner, {_OPEN} and due <= now() from tokenweir_runs r "
            f"where thread = %s and {_THERE}"
        )
        others = await (await connection.execute(sql, (run.thread_id,))).fetchall()
        if any(owner != run.owner for owner, _ in others):
            raise NotFoundError(f"there is no thread {run.thread_id}")
        check_strategy(run, busy=any(busy for _, busy in others))
        if thread is not None:
            run_is_created(thread, run)
            await put_thread(connection, thread, new=False)

    async def _thread_for(self, connection: Connection, run: Run, limits: Limits) -> Thread | None:
        """The thread of a new run, locked; None if a temporary run has none."""
        try:
            return await self._lock(connection, run.thread_id, run.owner)
        except NotFoundError:
            if run.temporary:
                sql = "select 1 from tokenweir_threads where id = %s"
                if await (await connection.execute(sql, (run.thread_id,))).fetchone() is None:
                    return None
                raise
        await self._check_threads(connection, run.owner, limits)
        await put_thread(connection, Thread(id=run.thread_id, owner=run.owner), new=True)
        return await self._lock(connection, run.thread_id, run.owner)  # fails if it is not ours

    async def run(self, run_id: str, owner: str) -> Run:
        sql = f"select {RUN} from tokenweir_runs r where id = %s and owner = %s and {_THERE}"
        rows = await self._database.rows(sql, (run_id, owner))
        if not rows:
            raise NotFoundError(f"there is no run {run_id}")
        return run_of(rows[0])

    async def runs_of(
        self, thread_id: str, owner: str, *, status: str | None = None, limit: int, offset: int = 0
    ) -> list[Run]:
        sql = (
            f"select {RUN} from tokenweir_runs r where thread = %s and owner = %s and {_THERE} "
            "and (%s::text is null or status = %s) order by seq desc limit %s offset %s"
        )
        values = (thread_id, owner, status, status, limit, offset)
        return [run_of(row) for row in await self._database.rows(sql, values)]

    async def unfinished(
        self,
        owner: str,
        *,
        ids: Collection[str] | None = None,
        thread_id: str | None = None,
        status: str | None = None,
    ) -> list[Run]:
        sql = (
            f"select {RUN} from tokenweir_runs r where owner = %s and {_OPEN} "
            "and (%s::text[] is null or id = any(%s)) and (%s::text is null or thread = %s) "
            "and (%s::text is null or status = %s) order by seq"
        )
        some = None if ids is None else list(ids)
        values = (owner, some, some, thread_id, thread_id, status, status)
        return [run_of(row) for row in await self._database.rows(sql, values)]

    async def ended(self, run_id: str, owner: str) -> Run:
        wakeup, last = self._notifications.wakeup(run_id), None
        while True:
            try:
                last = await self.run(run_id, owner)
            except NotFoundError:
                if last is None:
                    raise
                last.status = "interrupted"
            except StoreError:
                if last is None:
                    raise
            if last.final:
                return last
            if self._stopped:
                raise CutOffError("the server is stopping; the run continues")
            await wakeup.wait(_WAIT)

    async def latest(self, thread_id: str, owner: str) -> Run | None:
        await self.thread(thread_id, owner)
        return await turns.last(self._database, thread_id, owner)

    async def next_turn(self, thread_id: str, owner: str, after: int) -> Run:
        wakeup = self._notifications.wakeup(_BEGIN + thread_id)
        while True:
            await self.thread(thread_id, owner)
            run = await turns.first_after(self._database, thread_id, owner, after)
            if run is not None:
                return run
            if self._stopped:
                raise CutOffError("the server is stopping; the run continues")
            await wakeup.wait(_WAIT)

    def _tell_of(self, thread_id: str) -> None:
        """Notify waiters that a run of a thread has begun."""
        self._notifications.wake(_BEGIN + thread_id)
        self._notifications.notify_soon("ended", _BEGIN + thread_id)

    def tell_of_reader(self, run_id: str) -> None:
        self._notifications.notify_soon("reader", run_id)

    def read_elsewhere(self, run_id: str, within: float) -> bool:
        return self._notifications.has_reader_since(run_id, within)

    async def request_cancel(self, run_id: str, owner: str, *, undo: bool = False) -> None:
        sql = (
            "update tokenweir_runs set stopping = true, undone = undone or %s, updated_at = %s "
            f"where id = %s and owner = %s and {_OPEN} returning 1"
        )
        if not await self._database.rows(sql, (undo, now(), run_id, owner)):
            await self.run(run_id, owner)
            raise NotFoundError(f"run {run_id} has already ended")
        self._notifications.wake_workers()
        self._notifications.notify_soon("work")

    async def forget(self, run_id: str, owner: str) -> None:
        async with self._database.transaction() as connection:
            sql = f"select {_OPEN} from tokenweir_runs where id = %s and owner = %s for update"
            row = await (await connection.execute(sql, (run_id, owner))).fetchone()
            if row is None:
                raise NotFoundError(f"there is no run {run_id}")
            if row[0]:
                raise ConflictError("the run has not ended; cancel it first")
            self._log.size -= await _remove(connection, [run_id])

    # Workers

    async def claim(self, server: str, most: int) -> list[Hold]:
        async with self._database.connection() as connection:
            await stop_earlier(connection, now())
        async with self._database.transaction() as connection:
            holds = await claim(connection, self._database, server, most, now())
            runs = [hold.run for hold in holds]
            begun = [run for run in runs if not run.turn and run.status == "running"]
            for run in begun:
                run.turn = await turns.number(connection, run.id, run.thread_id)
        for run in runs:
            self._notifications.wake(run.id)
        for run in begun:
            self._tell_of(run.thread_id)
        return holds

    async def work(self, server: str) -> None:
        event = self._work.get(server)
        if event is None:
            event = self._work[server] = self._notifications.work()
        if await is_set_within(event, _LOOK):
            event.clear()

    async def cancels(self, server: str) -> list[Run]:
        sql = f"select {RUN} from tokenweir_runs r where server = %s and {_OPEN} and stopping"
        return [run_of(row) for row in await self._database.rows(sql, (server,))]

    async def heartbeat(self, server: str) -> None:
        await self._session.heartbeat(server)
        await give_back_lost(self._database, server, self._log.written)
        if await self._is_eldest():
            await self._tidy()

    async def leave(self, server: str) -> None:
        self._work.pop(server, None)
        await self._session.leave(server)
        self._notifications.wake_workers()
        await self._notifications.notify("work")

    async def finish(self, hold: Hold, writer: EventWriter, outcome: Outcome) -> bool:
        run, mine = hold.run, cast(PostgresWriter, writer)
        await mine.saved()
        async with self._database.transaction() as connection:
            sql = (
                "select record, status, updated_at from tokenweir_threads where id = %s for update"
            )
            row = await (await connection.execute(sql, (run.thread_id,))).fetchone()
            sql = (
                "select undone, turn, stopping from tokenweir_runs where id = %s and epoch = %s "
                f"and {_OPEN} for update"
            )
            held = await (await connection.execute(sql, (run.id, hold.epoch))).fetchone()
            if held is None:
                raise LostError
            if held[0] and not outcome.undone:
                return False
            ended: dict[str, Any] = {"status": outcome.status, "ended_at": now()}
            if held[2]:
                ended["stopped"] = True
            last = [(END, encode_event(ended))]
            if outcome.error is not None:
                last.insert(0, ("error", encode_event(outcome.error)))
            events = mine.last_events(last)
            await self._log.file.write(connection, [Part(run.id, hold.epoch, events)])
            sql = (
                "update tokenweir_runs set status = %s, error = %s, server = null, updated_at = %s,"
                " size = (select coalesce(sum(octet_length(events)), 0) from tokenweir_blocks "
                "where run = id) where id = %s"
            )
            if not held[1]:
                await turns.number(connection, run.id, run.thread_id)
            error = None if outcome.error is None else encode(outcome.error)
            await connection.execute(sql, (outcome.status, error, now(), run.id))
            if row is not None:
                await self._settle(connection, run, thread_of(row), outcome)
        mine.ended(events)
        self._log.drop(run.id, hold.epoch)
        self._notifications.wake(run.id)
        self._notifications.wake_workers()
        self._notifications.notify_soon("ended", run.id)
        if not held[1]:
            self._tell_of(run.thread_id)
        self._notifications.notify_soon("work")
        return True

    async def _settle(
        self, connection: Connection, run: Run, thread: Thread, outcome: Outcome
    ) -> None:
        """Update a thread after one of its runs has ended."""
        sql = (
            f"select exists (select 1 from tokenweir_runs where thread = %s and {_OPEN} "
            "and due <= now())"
        )
        ((others,),) = await (await connection.execute(sql, (run.thread_id,))).fetchall()
        run_ends(thread, outcome, busy=others)
        await put_thread(connection, thread, new=False)

    async def release(self, hold: Hold) -> None:
        self._log.drop(hold.run.id, hold.epoch)
        async with self._database.transaction() as connection:
            held = await give_back(connection, hold.run.id, hold.epoch, now())
        if held:
            self._notifications.wake_workers()
            await self._notifications.notify("work")

    def stop(self) -> None:
        self._stopped = True
        self._notifications.wake_all()

    # Retention and statistics

    async def counts(self) -> Counts:
        async with self._database.connection() as connection:
            found = await connection.execute(
                f"select status, count(*) from tokenweir_runs r where {_THERE} group by status"
            )
            by_status = {str(status): int(count) for status, count in await found.fetchall()}
            (row,) = await (await connection.execute(COUNTS)).fetchall()
        return counts_of(row, by_status)

    async def old_runs(self, limit: int, offset: int = 0) -> Sequence[Run]:
        """See ``Store``; only one server gets them, as it is enough if one deletes them."""
        if not await self._is_eldest():
            return []
        sql = (
            f"select {RUN} from tokenweir_runs r where status not in ('pending', 'running') "
            "order by seq limit %s offset %s"
        )
        return [run_of(row) for row in await self._database.rows(sql, (limit, offset))]

    async def _tidy(self) -> None:
        """Remove runs undone some time ago, and servers that have long been dead."""
        async with self._database.transaction() as connection:
            found = await connection.execute(
                f"select id from tokenweir_runs where undone and not {_OPEN} "
                "and updated_at::timestamptz < now() - %s * interval '1 s' for update skip locked",
                (_SHOWN,),
            )
            if gone := [each for (each,) in await found.fetchall()]:
                self._log.size -= await _remove(connection, gone)
            await connection.execute(
                "delete from tokenweir_servers s where lease_until < now() - interval '1 hour' "
                "and not exists (select 1 from tokenweir_runs where server = s.id)"
            )


async def _remove(connection: Connection, runs: list[str]) -> int:
    """Remove runs and their events in a transaction; return their size in bytes."""
    size = 0
    for table, column in (
        ("runs", "id"),
        ("blocks", "run"),
        ("envelopes", "run"),
        ("former_writes", "run"),
    ):
        sql = f"delete from tokenweir_{table} where {column} = any(%s)"
        if table == "runs":
            found = await (await connection.execute(f"{sql} returning size", (runs,))).fetchall()
            size = sum(int(each[0]) for each in found)
        else:
            await connection.execute(sql, (runs,))
    return size
