"""How events are stored in Postgres: blocks of one run, and the envelopes of its messages.

Each write checks in the same statement who holds the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenweir.serving.log.blocks import Stored, pack, scan_blocks, unpack
from tokenweir.serving.log.events import PAGE, Envelope, Event, Scanner
from tokenweir.serving.postgres.database import Connection, Database
from tokenweir.serving.problems import LostError

__all__ = ["EventFile", "Part"]

_BLOCKS = 64
"""Blocks read at a time."""

_SCANNED = 4096
"""Blocks read at a time by ``scan``."""

_WRITE = """
with held as (
    select r.id, r.epoch from unnest(%(runs)s::text[], %(epochs)s::int[]) as q (id, epoch)
    join tokenweir_runs r on r.id = q.id and r.epoch = q.epoch
    where r.status in ('pending', 'running') order by r.id for share of r
), blocks as (
    insert into tokenweir_blocks (run, last, epoch, events)
    select b.run, b.last, held.epoch, b.events
    from unnest(%(block_runs)s::text[], %(lasts)s::bigint[], %(blocks)s::bytea[])
        as b (run, last, events)
    join held on held.id = b.run on conflict do nothing
), envelopes as (
    insert into tokenweir_envelopes (run, id, head, tail)
    select e.run, e.id, e.head, e.tail
    from unnest(%(envelope_runs)s::text[], %(ids)s::bigint[], %(heads)s::bytea[],
        %(tails)s::bytea[]) as e (run, id, head, tail)
    join held on held.id = e.run on conflict do nothing
)
select id from held
"""
"""On conflict, a block was written before, by a commit whose answer was lost."""

_PAGE = """
select r.status not in ('pending', 'running'), (
    select array_agg(found.events) from (
        select events from tokenweir_blocks where run = %(run)s and last > %(after)s
        order by last limit %(limit)s) found)
from tokenweir_runs r where r.id = %(run)s
"""


@dataclass
class Part:
    """Events of one run, with the epoch of their writer."""

    run: str
    epoch: int
    events: list[Event] = field(default_factory=list)


class EventFile:
    """The tables of events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, connection: Connection, parts: Sequence[Part]) -> set[str]:
        """Write events in one statement; return the runs that are held and were written."""
        values: dict[str, list[Any]] = {
            "runs": [part.run for part in parts],
            "epochs": [part.epoch for part in parts],
        }
        for name in ("block_runs", "lasts", "blocks", "envelope_runs", "ids", "heads", "tails"):
            values[name] = []
        for part in parts:
            for start in range(0, len(part.events), PAGE):
                some = part.events[start : start + PAGE]
                values["block_runs"].append(part.run)
                values["lasts"].append(some[-1].id)
                values["blocks"].append(pack(some))
            for event in part.events:
                envelope = event.envelope
                if envelope is not None and envelope.id == event.id:
                    values["envelope_runs"].append(part.run)
                    values["ids"].append(event.id)
                    values["heads"].append(envelope.head)
                    values["tails"].append(envelope.tail)
        found = await connection.execute(_WRITE, values)
        return {run for (run,) in await found.fetchall()}

    async def page(self, run: str, after: int) -> tuple[list[Event], bool]:
        """The next events of a run after an id, and whether the run has ended.

        If it has ended and the list is empty, there are no more.
        """
        values = {"run": run, "after": after, "limit": _BLOCKS}
        async with self._database.connection() as connection:
            row = await (await connection.execute(_PAGE, values, binary=True)).fetchone()
            if row is None:
                return [], True
            over, blocks = row
            stored = list[Stored]()
            for block in blocks or ():
                for each in unpack(block):
                    if each[0] > after:  # skip duplicates, if a block was written twice
                        after = each[0]
                        stored.append(each)
            return await self._events(connection, run, stored), over

    async def scan(self, run: str, after: int, upto: int, take: Scanner) -> int:
        """Pass many events of a run between two ids to ``take``; return the last id reached."""
        blocks = (
            "select last, events from tokenweir_blocks where run = %s and last > %s "
            "order by last limit %s"
        )
        envelopes = "select id, head, tail from tokenweir_envelopes where run = %s"
        async with self._database.connection() as connection:
            found = await connection.execute(blocks, (run, after, _SCANNED), binary=True)
            rows = await found.fetchall()
            found = await connection.execute(envelopes, (run,), binary=True)
            known = {
                name: Envelope(head, tail, name) for name, head, tail in await found.fetchall()
            }
        return scan_blocks(rows, after, upto, take, known.__getitem__)

    async def newest(self, run: str, kind: str) -> Event | None:
        """The last event of this kind in a run; None if there is none."""
        before = 1 << 62
        sql = (
            "select last, events from tokenweir_blocks where run = %s and last < %s "
            "order by last desc limit %s"
        )
        async with self._database.connection() as connection:
            while True:
                found = await connection.execute(sql, (run, before, _BLOCKS), binary=True)
                rows = await found.fetchall()
                if not rows:
                    return None
                for last, block in rows:
                    before = last
                    for each in reversed(unpack(block)):
                        if each[1] == kind:
                            return (await self._events(connection, run, [each]))[0]

    async def kept(self, run: str, epoch: int) -> int:
        """The greatest event id of a run. Raises LostError unless it is held under this epoch."""
        sql = (
            "select coalesce((select max(last) from tokenweir_blocks where run = %(run)s), 0) "
            "from tokenweir_runs where id = %(run)s and epoch = %(epoch)s "
            "and status in ('pending', 'running')"
        )
        rows = await self._database.rows(sql, {"run": run, "epoch": epoch})
        if not rows:
            raise LostError
        return int(rows[0][0])

    async def last_id(self, run: str) -> int:
        """The greatest event id of a run; 0 if there is none."""
        sql = "select coalesce(max(last), 0) from tokenweir_blocks where run = %s"
        return int((await self._database.rows(sql, (run,)))[0][0])

    async def _events(
        self, connection: Connection, run: str, stored: Sequence[Stored]
    ) -> list[Event]:
        known: dict[int, Envelope | None] = {0: None}
        if names := {each[3] for each in stored} - {0}:
            found = await connection.execute(
                "select id, head, tail from tokenweir_envelopes where run = %s and id = any(%s)",
                (run, list(names)),
                binary=True,
            )
            for name, head, tail in await found.fetchall():
                known[name] = Envelope(head, tail, name)
        return [Event(number, kind, body, known[name]) for number, kind, body, name in stored]
