"""What keeps SQLite's write-ahead logs short, beside the writers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.waiting import await_until
from tokenweir.serving.log.events import END
from tokenweir.serving.log.sqlite import SqliteLog
from tokenweir.serving.log.wal import MOST_PAGES, WalKeeper
from tokenweir.serving.running.checkpoints import SqliteCheckpoints
from tokenweir.serving.running.data_folder import data_folder

BODY = b'"' + b"x" * 4000 + b'"'
PAGE = 4096


async def test_what_is_committed_reaches_the_file_though_no_commit_moves_it(tmp_path: Path) -> None:
    """A long log is emptied beside its writer, which never does it before the bound."""
    path = tmp_path / "some.sqlite"
    with sqlite3.connect(path, isolation_level=None) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute(f"PRAGMA wal_autocheckpoint = {MOST_PAGES}")
        writer.execute("CREATE TABLE some (body BLOB)")
        for _ in range(2000):
            writer.execute("INSERT INTO some VALUES (?)", (BODY,))
        assert path.stat().st_size < 100 * PAGE  # all of it is in the log
        keeper = WalKeeper(path)
        for pages in (999, 1):
            counted = keeper.count
            keeper.wrote(pages)
            assert counted == 0
        await keeper.close()
        assert keeper.count == 1
        assert path.stat().st_size > 2000 * len(BODY)
    writer.close()


async def test_the_event_log_says_what_it_wrote(tmp_path: Path) -> None:
    """Events reach the database's file while the log is open; its own commits leave them."""
    path = tmp_path / "events.sqlite"
    log = SqliteLog(path)
    try:
        for number in range(3):
            log.open(f"{number}")
            for _ in range(1000):
                log.append(f"{number}", "custom", BODY)
            log.append(f"{number}", END, b'{"status":"success"}')
            await log.saved()
        await await_until(lambda: path.stat().st_size >= 1000 * len(BODY))
    finally:
        await log.close()


async def test_checkpoints_are_kept_so_too(tmp_path: Path) -> None:
    """The connection that writes checkpoints does not empty the log below the bound."""
    async with data_folder(tmp_path, {})() as home:
        assert isinstance(home.checkpoints, SqliteCheckpoints)
        found = await home.checkpoints.conn.execute_fetchall("PRAGMA wal_autocheckpoint")
        assert list(found) == [(MOST_PAGES,)]
