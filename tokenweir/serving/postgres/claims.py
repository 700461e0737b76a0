"""Which runs a server may claim, as one SQL transaction."""

from __future__ import annotations

from datetime import timedelta

from tokenweir.serving.postgres.database import APPLICATION, Connection, Database
from tokenweir.serving.postgres.rows import run_of
from tokenweir.serving.postgres.session import Session
from tokenweir.serving.running.records import Run
from tokenweir.serving.running.store import Hold

__all__ = ["END_STOPPED", "RUN", "claim", "give_back", "give_back_lost", "stop_earlier"]

RUN = (
    "r.record, r.status, r.epoch, r.server, r.stopping, r.undone, r.error, r.updated_at, r.turn, "
    "r.lost"
)
"""The columns of a run ``r`` that ``rows.py`` reads."""

_OPEN = "status in ('pending', 'running')"

_FIRST = f"""r.due <= now() and not exists (
    select 1 from tokenweir_runs o
    where o.thread = r.thread and o.seq <> r.seq and o.{_OPEN} and o.due <= now()
    and (o.status = 'running' or (o.due, o.seq) < (r.due, r.seq)))"""
"""Whether a run ``r`` may run now, as the first on its thread."""

_FREE = f"""r.{_OPEN} and (r.server is null or r.server not in (select id from alive))
    and (r.stopping or ({_FIRST}))"""

_LOOK = f"""
with alive as materialized ({Session.ALIVE})
select seq, thread, stopping from tokenweir_runs r where {_FREE}
order by stopping desc, due, seq limit %s
"""

_TAKE = f"""
with alive as materialized ({Session.ALIVE}), free as (
    select seq, server is not null as held, extract(epoch from now() - case
        when epoch = 0 then due
        when server is null then updated_at::timestamptz
        else (select s.lease_until from tokenweir_servers s where s.id = r.server) - %(lease)s
    end)::float8 as waited
    from tokenweir_runs r where seq = any(%(seqs)s) and {_FREE} for update of r skip locked)
update tokenweir_runs r set epoch = epoch + 1, server = %(server)s, updated_at = %(now)s,
    lost = lost + free.held::int,
    status = case when stopping then status else 'running' end
from free where free.seq = r.seq returning r.seq, waited, {RUN}
"""

END_STOPPED = """
select pg_terminate_backend(pid) from pg_stat_activity
where application_name = %s and datname = current_database() and usename = current_user
and xact_start is not null and wait_event = 'ClientRead' and state <> 'idle'
and state_change < clock_timestamp() - %s
"""
"""End transactions of processes that were suspended in the middle of a pipeline. Postgres sees them
as active, or as idle in transaction, but their last Flush stopped the
``idle_in_transaction_session_timeout``. An idle connection that listens has a short transaction for
each notification that it passes on: it must stay, as its lock says that a server lives."""

_MORE = 100
"""Further runs that are looked at: those to be ended need no room."""


async def claim(
    connection: Connection, database: Database, server: str, most: int, now: str
) -> list[Hold]:
    """Claim runs, within a transaction.

    Runs that another transaction is changing, and runs of threads that one has locked, are left
    for the next call. A transaction that idles for too long must be of a suspended process; it is
    ended.
    """
    found = await (await connection.execute(_LOOK, (most + _MORE,))).fetchall()
    if not found:
        return []
    to_end = [seq for seq, _, stopping in found if stopping]
    to_run = [(seq, thread) for seq, thread, stopping in found if not stopping][:most]
    busy = await _lock(connection, sorted({thread for _, thread in to_run}))
    seqs = [*to_end, *(seq for seq, thread in to_run if (thread,) not in busy)]
    # Checked again: another server may have claimed a run before its thread was locked here.
    values = {
        "seqs": seqs,
        "server": server,
        "now": now,
        "lease": timedelta(seconds=database.lease),
    }
    rows = await (await connection.execute(_TAKE, values)).fetchall()
    taken = {row[0] for row in rows}
    if len(taken) < len(to_end) + len(to_run):
        await connection.execute(END_STOPPED, (APPLICATION, timedelta(seconds=database.idle)))
    used = sorted({thread for seq, thread in to_run if seq in taken})
    if used:
        await connection.execute(
            "update tokenweir_threads set status = 'busy', updated_at = %s "
            "where id = any(%s) and status <> 'busy'",
            (now, used),
        )
    rows.sort(key=lambda row: int(row[0]))
    return [_hold(run_of(row[2:]), row[1]) for row in rows]


def _hold(run: Run, waited: float) -> Hold:
    return Hold(run, run.attempt, None if run.stopping else waited)


async def _lock(connection: Connection, threads: list[str]) -> set[tuple[str]]:
    """Lock threads; return those that another transaction has locked."""
    there = await (
        await connection.execute("select id from tokenweir_threads where id = any(%s)", (threads,))
    ).fetchall()
    sql = "select id from tokenweir_threads where id = any(%s) order by id for update skip locked"
    mine = await (await connection.execute(sql, (threads,))).fetchall()
    return set(there) - set(mine)


async def stop_earlier(connection: Connection, now: str) -> bool:
    """Stop runs that are displaced by ones that have become due; return whether there were any."""
    sql = f"""
    update tokenweir_runs o set stopping = true, updated_at = %s,
        undone = o.undone or r.strategy = 'rollback'
    from tokenweir_runs r
    where r.status = 'pending' and r.epoch = 0 and r.strategy in ('interrupt', 'rollback')
    and r.due <= clock_timestamp() and o.thread = r.thread and o.{_OPEN}
    and (o.due, o.seq) < (r.due, r.seq)
    and (not o.stopping or (r.strategy = 'rollback' and not o.undone))
    """
    return (await connection.execute(sql, (now,))).rowcount > 0


async def give_back(connection: Connection, run: str, epoch: int, now: str) -> bool:
    """Let any server claim a run, if it is held under this epoch; return whether it was."""
    sql = (
        "update tokenweir_runs set server = null, status = 'pending', updated_at = %s "
        f"where id = %s and epoch = %s and {_OPEN}"
    )
    return (await connection.execute(sql, (now, run, epoch))).rowcount > 0


async def give_back_lost(database: Database, server: str, written: list[str]) -> None:
    """Release runs that a server has held for a lease without writing them.

    The server does not know that it holds them: its connection broke between the claim and the
    answer.
    """
    sql = (
        "update tokenweir_runs set server = null, status = 'pending' where server = %s "
        f"and {_OPEN} and id <> all(%s) and updated_at::timestamptz < now() - %s returning 1"
    )
    await database.rows(sql, (server, written, timedelta(seconds=database.lease)))
