"""Keeps the writes of tasks that a run may overwrite, so that the run can be undone.

A run that answers an interrupt writes to the checkpoint of the run before it: the answer, and its
tasks' results. These writes do not name their run, so they cannot be deleted with it. This module
has statements for the tables of LangGraph's SQLite saver; the saver executes them.
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
"""One row per write kept, and one with no task per checkpoint covered."""

FORGET = "DELETE FROM former_writes WHERE thread_id = ?"

_KNOWN = "SELECT 1 FROM former_writes WHERE thread_id = ? AND run_id = ? LIMIT 1"


async def keep(
    cursor: aiosqlite.Cursor, run_id: str, thread_id: str, *, everywhere: bool = False
) -> None:
    """Keep the writes of the checkpoints that a run may continue from, once per run.

    Args:
        cursor: A cursor in a transaction, which the caller ends.
        run_id: The run that is about to begin.
        thread_id: Its thread. Writes kept there for an earlier run are dropped.
        everywhere: Whether to keep those of all checkpoints, not of each namespace's newest.
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
    """Restore the writes kept for a run, and drop the copies, in the caller's transaction."""
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
