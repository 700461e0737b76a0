"""What tasks had written before a run went on from their checkpoint, for the run to be undone.

A run that answers an interrupt writes to the checkpoint of the run before it: the answer, and what
its tasks give. Those writes do not say whose they are, so they cannot go with their run. Statements
for the tables of LangGraph's SQLite saver, and nothing else; the saver runs them.
"""

from __future__ import annotations

from typing import Any

import aiosqlite

__all__ = ["FORGET", "TABLE", "keep", "put_back"]

_PLACE = "thread_id, checkpoint_ns, checkpoint_id"
_COLUMNS = f"{_PLACE}, task_id, task_path, idx, channel, type, value"

TABLE = f"""
CREATE TABLE IF NOT EXISTS former_writes ({_COLUMNS}, run_id TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS former_writes_of_threads ON former_writes (thread_id);
"""
"""One row for each write that was there, and one without a task for each checkpoint looked at."""

FORGET = "DELETE FROM former_writes WHERE thread_id = ?"

_KNOWN = "SELECT 1 FROM former_writes WHERE thread_id = ? AND run_id = ? LIMIT 1"


async def keep(
    cursor: aiosqlite.Cursor, run_id: str, thread_id: str, *, everywhere: bool = False
) -> None:
    """Keep the writes of the checkpoints that a run may go on from, unless that was done before.

    Args:
        cursor: Within a transaction, which is the caller's to end.
        run_id: The run that is about to begin.
        thread_id: Its thread; what was kept there for another run goes, as that is over.
        everywhere: All of the thread's checkpoints, instead of the newest of each namespace.
    """
    found: Any = await (await cursor.execute(_KNOWN, (thread_id, run_id))).fetchone()
    if found is not None:
        return
    await cursor.execute(FORGET, (thread_id,))
    newest = "checkpoint_id" if everywhere else "MAX(checkpoint_id)"
    grouped = "" if everywhere else "GROUP BY checkpoint_ns"
    await cursor.execute(
        f"INSERT INTO former_writes ({_PLACE}, run_id) "
        f"SELECT thread_id, checkpoint_ns, {newest}, ? FROM checkpoints "
        f"WHERE thread_id = ? {grouped}",
        (run_id, thread_id),
    )
    await cursor.execute(
        f"INSERT INTO former_writes ({_COLUMNS}, run_id) SELECT {_COLUMNS}, ? FROM writes "
        f"WHERE ({_PLACE}) IN (SELECT {_PLACE} FROM former_writes WHERE thread_id = ?)",
        (run_id, thread_id),
    )


async def put_back(cursor: aiosqlite.Cursor, run_id: str) -> None:
    """Make those writes what they were, and forget them. The transaction is the caller's."""
    of_run = (run_id,)
    await cursor.execute(
        f"DELETE FROM writes WHERE ({_PLACE}) IN "
        f"(SELECT {_PLACE} FROM former_writes WHERE run_id = ?)",
        of_run,
    )
    await cursor.execute(
        f"INSERT INTO writes ({_COLUMNS}) SELECT {_COLUMNS} FROM former_writes "
        "WHERE run_id = ? AND task_id IS NOT NULL",
        of_run,
    )
    await cursor.execute("DELETE FROM former_writes WHERE run_id = ?", of_run)
