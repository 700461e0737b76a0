"""The event log, in both of its homes; what only the disk can do comes last."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.waiting import await_until
from tokenweir.serving.log.events import END, Envelope, Event
from tokenweir.serving.log.memory import MemoryLog
from tokenweir.serving.log.sqlite import SqliteLog
from tokenweir.serving.problems import CutOffError

LocalLog: TypeAlias = MemoryLog | SqliteLog


@pytest.fixture(params=["memory", "sqlite"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalLog]:
    log = MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log.sqlite")
    yield log
    await log.close()


async def read(log: LocalLog, run: str, after: int = 0) -> list[Event]:
    return [event async for events in log.follow(run, after) for event in events]


def filled(log: LocalLog, run: str, count: int) -> list[Event]:
    log.open(run)
    events = [log.append(run, "messages", b"%d" % number) for number in range(count)]
    return [*events, log.append(run, END, b"{}")]


async def test_any_id_is_a_place_to_begin(log: LocalLog) -> None:
    """From every id a reader gets what follows it, and nothing else."""
    events = filled(log, "run", 20)
    assert [event.id for event in events] == list(range(1, 22))
    for after in range(22):
        assert await read(log, "run", after) == events[after:]


async def test_readers_follow_live(log: LocalLog) -> None:
    """Readers that came before, during and after the writing get the same."""
    log.open("run")
    before = asyncio.ensure_future(read(log, "run"))
    await asyncio.sleep(0)
    for number in range(25):
        log.append("run", "messages", b"%d" % number, durable=number % 7 == 0)
        await asyncio.sleep(0)
    during = asyncio.ensure_future(read(log, "run"))
    for number in range(25, 50):
        log.append("run", "messages", b"%d" % number, durable=number % 7 == 0)
        await asyncio.sleep(0)
    log.append("run", END, b"{}")
    found = await asyncio.wait_for(before, 60)
    assert [event.data for event in found[:-1]] == [b"%d" % number for number in range(50)]
    assert await asyncio.wait_for(during, 60) == found == await read(log, "run")


async def test_runs_are_apart_and_can_go(log: LocalLog) -> None:
    """A deleted run has no events, its readers end, and the others keep theirs."""
    kept, gone = filled(log, "kept", 3), filled(log, "gone", 3)
    log.open("open")
    waiting = asyncio.ensure_future(read(log, "open"))
    assert await read(log, "gone") == gone
    size = log.size
    await log.delete("gone")
    await log.delete("open")
    assert await asyncio.wait_for(waiting, 60) == []
    assert await read(log, "gone") == []
    assert await read(log, "kept") == kept
    assert log.size == size - sum(len(event.data) for event in gone)
    assert await read(log, "unknown") == []


async def test_leaving_a_reader_changes_nothing(log: LocalLog) -> None:
    """One who leaves in the middle is forgotten; the others read on."""
    log.open("run")
    log.append("run", "messages", b"1")
    async with aclosing(log.follow("run")) as events:
        async for _ in events:
            break
    log.append("run", END, b"{}")
    assert len(await asyncio.wait_for(read(log, "run"), 60)) == 2


async def test_tokens_share_what_they_have_in_common(log: LocalLog) -> None:
    """Of tokens with one envelope each keeps its text only; read again they are whole."""
    log.open("run")
    envelope = Envelope(b'[{"content":', b',"id":"m"},{"tags":["%s"]}]' % (b"x" * 1000))
    texts = [b'"one"', b'" two"', b'"\\n"']
    events = [log.append("run", "messages", text, envelope=envelope) for text in texts]
    end = log.append("run", END, b"{}")
    assert log.size == sum(map(len, texts)) + len(envelope.head) + len(envelope.tail) + 2
    for after in range(4):
        assert await read(log, "run", after) == [*events, end][after:]
    await log.saved()
    for event, text in zip(await read(log, "run"), ["one", " two", "\n"], strict=False):
        assert event.value == [{"content": text, "id": "m"}, {"tags": ["x" * 1000]}]
    await log.delete("run")
    assert log.size == 0


async def test_what_is_given_at_once_is_bounded(log: LocalLog) -> None:
    """A reader is given at most 256 events at once, and no second one beyond 1 MiB of data."""
    log.open("run")
    envelope = Envelope(b"[", b"," + b"x" * 100_000 + b"]")
    for _ in range(600):
        log.append("run", "messages", b"0")
    for _ in range(40):
        log.append("run", "messages", b"1", envelope=envelope)
    for _ in range(2):
        log.append("run", "custom", b"2" * (2 << 20))
    log.append("run", END, b"{}")
    for _ in range(2):  # from memory, and then from the disk if there is one
        pages = [events async for events in log.follow("run")]
        await log.saved("run")
        assert max(len(events) for events in pages) == 256
        for events in pages:
            assert len(events) == 1 or sum(len(event.data) for event in events) <= 1 << 20
        assert [event.id for events in pages for event in events] == list(range(1, 644))


async def test_the_newest_of_a_kind(log: LocalLog) -> None:
    """The last event of a kind is found before and after it was written, or none."""
    log.open("run")
    for number in range(3):
        log.append("run", "values", b"%d" % number)
        log.append("run", "updates", b"%d" % number)
    for _ in ("not written yet", "written"):
        newest = await log.newest("run", "values")
        assert newest is not None
        assert newest.value == 2
        assert await log.newest("run", "custom") is None
        await log.saved()
    assert await log.newest("unknown", "values") is None


async def test_only_an_end_looks_like_one(log: LocalLog) -> None:
    """Readers of a run that does not end here are cut off, behind what there is."""
    log.open("run")
    event = log.append("run", "messages", b"1", durable=True)
    ended = filled(log, "ended", 1)
    reader: Any = log.follow("run")
    assert await asyncio.wait_for(anext(reader), 60) == [event]
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    log.cut_off()
    with pytest.raises(CutOffError):
        await asyncio.wait_for(waiting, 60)
    with pytest.raises(CutOffError):
        await read(log, "run")
    assert await read(log, "ended") == ended


# Only on a disk


async def test_what_is_durable_is_on_the_disk_when_it_is_seen(tmp_path: Path) -> None:
    """A reader never sees a durable event, nor one after it, that a kill could take back."""
    log = SqliteLog(tmp_path / "log.sqlite")
    log.open("run")
    other = sqlite3.connect(tmp_path / "log.sqlite")

    def stored() -> int:
        return int(other.execute("SELECT coalesce(max(last), 0) FROM blocks").fetchone()[0])

    reader: Any = log.follow("run")
    for number in range(1, 40, 3):
        log.append("run", "messages", b"begins", durable=True)
        log.append("run", "messages", b"follows")
        log.append("run", "messages", b"follows")
        seen: list[Event] = []
        while not seen or seen[-1].id < number + 2:
            seen += await asyncio.wait_for(anext(reader), 60)
            assert stored() >= number
    await reader.aclose()
    other.close()
    await log.close()


async def test_it_is_all_there_again(tmp_path: Path) -> None:
    """A log that is opened again has every run and record that was closed with it."""
    log = SqliteLog(tmp_path / "log.sqlite")
    events = filled(log, "run", 5000)
    log.save("runs", "b", b"2")
    log.save("runs", "a", b"1")
    log.save("runs", "b", b"3")
    log.save("runs", "c", b"4")
    log.remove("runs", "c")
    size = log.size
    await log.close()
    log = SqliteLog(tmp_path / "log.sqlite")
    assert await read(log, "run") == events
    assert await read(log, "run", 4321) == events[4321:]
    assert list(log.load("runs")) == [b"3", b"1"]
    assert log.size == size
    await log.close()


async def test_a_cut_off_record_goes_on_with_ids_of_its_own(tmp_path: Path) -> None:
    """Ids that were given after the last batch and are lost do not come a second time."""
    log = SqliteLog(tmp_path / "log.sqlite")
    log.open("run")
    first = log.append("run", "messages", b"kept")
    await log.close()
    log = SqliteLog(tmp_path / "log.sqlite")
    writer = await log.writer("run", 2)
    assert writer.kept == first.id
    late = asyncio.ensure_future(read(log, "run", 500_000))
    all_of_it = asyncio.ensure_future(read(log, "run"))
    await asyncio.sleep(0)
    more = [log.append("run", "messages", b"new"), log.append("run", END, b"{}")]
    assert more[0].id > 500_000
    assert await asyncio.wait_for(late, 60) == more
    assert await asyncio.wait_for(all_of_it, 60) == [first, *more]
    await log.close()


async def test_readers_may_come_while_a_record_is_taken_up(tmp_path: Path) -> None:
    """Wherever they stand, they get what was kept and wait for what comes."""
    log = SqliteLog(tmp_path / "log.sqlite")
    log.open("run")
    first = log.append("run", "messages", b"kept")
    await log.close()
    log = SqliteLog(tmp_path / "log.sqlite")
    reopening = asyncio.ensure_future(log.writer("run", 2))
    await asyncio.sleep(0)
    readers = [asyncio.ensure_future(read(log, "run", after)) for after in (0, 1, 500_000)]
    await asyncio.sleep(0)
    assert not reopening.done()
    await reopening
    end = log.append("run", END, b"{}")
    found = await asyncio.wait_for(asyncio.gather(*readers), 60)
    assert found == [[first, end], [end], [end]]
    await log.close()


async def test_a_slow_reader_costs_no_memory(tmp_path: Path) -> None:
    """Of a long run only the newest events stay in memory; who is behind reads from the disk."""
    log = SqliteLog(tmp_path / "log.sqlite")
    log.open("run")
    slow: Any = log.follow("run")
    log.append("run", "messages", b"0", durable=True)
    found: list[Event] = await asyncio.wait_for(anext(slow), 60)
    for number in range(1, 20_000):
        log.append("run", "messages", b"%d" % number)
        if number % 500 == 0:
            await log.saved("run")
    assert len(log._tails["run"]._events) < 10_000
    log.append("run", END, b"{}")
    async for events in slow:
        assert len(events) <= 10_000
        found += events
    assert [event.data for event in found[:-1]] == [b"%d" % number for number in range(20_000)]
    assert [event.id for event in found] == list(range(1, 20_002))
    await log.close()
    assert log._tails == {}


async def being_written(log: SqliteLog) -> None:
    """Wait until the thread that writes has something to write."""
    while log._writing is None:
        await asyncio.sleep(0)


async def test_many_runs_are_written_in_turns(tmp_path: Path) -> None:
    """More runs than a batch takes are all written, without anybody waiting for it: in the order in
    which they began to wait, and no batch has them all."""
    log = SqliteLog(tmp_path / "log.sqlite")
    runs = [f"run-{number}" for number in range(250)]
    for run in runs:
        log.open(run)
        log.append(run, "messages", b"1")
    with sqlite3.connect(tmp_path / "log.sqlite") as other:

        def written() -> list[str]:
            sql = "SELECT run FROM blocks JOIN logs USING (key) ORDER BY key"
            return [run for (run,) in other.execute(sql)]

        await await_until(written)
        first = written()
        assert len(first) < len(runs)
        assert first == runs[: len(first)]
        await await_until(lambda: written() == runs)
    other.close()
    for run in runs:
        log.append(run, END, b"{}")
    assert [event.id for event in await read(log, runs[-1])] == [1, 2]
    await log.close()


async def test_only_what_is_not_saved_is_waited_for(tmp_path: Path) -> None:
    """While another run's events are being written, or wait, a run that has none is saved."""
    log = SqliteLog(tmp_path / "log.sqlite")
    other = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)

    def stored(run: str) -> Any:
        sql = "SELECT max(last) FROM logs JOIN blocks USING (key) WHERE run = ?"
        return other.execute(sql, (run,)).fetchone()[0]

    for run in ("quiet", "loud"):
        log.open(run)
    await log.saved()
    other.execute("BEGIN IMMEDIATE")
    log.append("loud", "messages", b"1", durable=True)
    await being_written(log)
    log.append("loud", "messages", b"2")
    await asyncio.wait_for(log.saved("quiet"), 60)
    loud = asyncio.ensure_future(log.saved("loud"))
    log.save("runs", "quiet", b"changed")
    log.append("quiet", "messages", b"1")
    quiet = asyncio.ensure_future(log.saved("quiet"))
    await asyncio.sleep(0)
    assert not loud.done()
    assert not quiet.done()
    assert stored("loud") is None
    other.execute("COMMIT")
    await asyncio.wait_for(loud, 60)
    assert stored("loud") == 2
    await asyncio.wait_for(quiet, 60)
    assert stored("quiet") == 1
    log.append("loud", "messages", b"3", durable=True)
    await being_written(log)
    await asyncio.wait_for(log.saved("loud"), 60)  # all of it is in the batch that is written
    assert stored("loud") == 3
    log.save("runs", "loud", b"changed")
    await asyncio.wait_for(log.saved("loud"), 60)
    assert list(log.load("runs")) == [b"changed", b"changed"]
    other.close()
    await log.close()


async def test_after_a_failed_batch_saved_means_saved(tmp_path: Path) -> None:
    """What a batch that could not be written holds is waited for, also by who asks afterwards."""
    log = SqliteLog(tmp_path / "log.sqlite")
    other = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
    log._file.writing.execute("PRAGMA busy_timeout = 10")
    log.open("run")
    await log.saved()
    other.execute("BEGIN IMMEDIATE")
    log.append("run", "messages", b"1")
    log.save("runs", "other", b"record")
    before = [asyncio.ensure_future(log.saved(each)) for each in ("run", "other")]
    await await_until(lambda: log.problem)
    after = [asyncio.ensure_future(log.saved(each)) for each in ("run", "other")]
    await asyncio.sleep(0)
    assert not any(each.done() for each in (*before, *after))
    other.execute("COMMIT")
    await asyncio.wait_for(asyncio.gather(*before, *after), 60)
    assert other.execute("SELECT max(last) FROM blocks").fetchone()[0] == 1
    assert list(log.load("runs")) == [b"record"]
    other.close()
    await log.close()


async def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """While the file cannot be written nothing is lost, and writers are told to wait."""
    log = SqliteLog(tmp_path / "log.sqlite")
    other = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
    log._file.writing.execute("PRAGMA busy_timeout = 10")
    log.open("run")
    other.execute("BEGIN IMMEDIATE")
    event = log.append("run", "messages", b"x" * (17 << 20), durable=True)
    await await_until(lambda: log.problem)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(log.ready(), 0.05)
    other.execute("COMMIT")
    await asyncio.wait_for(log.ready(), 60)
    log.append("run", END, b"{}")
    assert (await asyncio.wait_for(read(log, "run"), 60))[0] == event
    assert not log.problem
    other.close()
    await log.close()
