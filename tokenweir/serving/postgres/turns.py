"""The order in which a thread's runs begin, as SQL."""

from __future__ import annotations

from tokenweir.serving.postgres.claims import RUN
from tokenweir.serving.postgres.database import Connection, Database
from tokenweir.serving.postgres.rows import run_of
from tokenweir.serving.running.records import Run

__all__ = ["first_after", "last", "number"]

_BEGUN = f"select {RUN} from tokenweir_runs r where thread = %s and owner = %s and turn > %s"
_SHOWN = "not (r.undone and r.status not in ('pending', 'running'))"


async def number(connection: Connection, run: str, thread: str) -> int:
    """Give a run its turn when it begins, in a transaction that has locked its thread; return it.

    A run without a thread has turn 1.
    """
    sql = "update tokenweir_threads set turns = turns + 1 where id = %s returning turns"
    row = await (await connection.execute(sql, (thread,))).fetchone()
    turn = 1 if row is None else int(row[0])
    await connection.execute("update tokenweir_runs set turn = %s where id = %s", (turn, run))
    return turn


async def last(database: Database, thread: str, owner: str) -> Run | None:
    """The run of a thread that began last."""
    sql = f"{_BEGUN} and {_SHOWN} order by turn desc limit 1"
    return _one(await database.rows(sql, (thread, owner, 0)))


async def first_after(database: Database, thread: str, owner: str, turn: int) -> Run | None:
    """The thread's first run with a greater turn; 0 for the first of all."""
    sql = f"{_BEGUN} and {_SHOWN} order by turn limit 1"
    return _one(await database.rows(sql, (thread, owner, max(turn, 0))))


def _one(rows: list[tuple[object, ...]]) -> Run | None:
    return run_of(rows[0]) if rows else None
