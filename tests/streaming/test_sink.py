"""The sink: bounded, loses nothing, wakes everyone, lets producers go when the reader leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from tokenweir.streaming.backpressure import PumpGate
from tokenweir.streaming.channel import Closed, Empty, ReaderLeft, Sink

ALL = range(2_000)


async def produce(sink: Sink[int], numbers: range) -> None:
    for number in numbers:
        sink.put(number)
        if sink.full:
            await sink.room()


def produce_sync(sink: Sink[int], numbers: range) -> None:
    for number in numbers:
        sink.put(number)
        if sink.full:
            sink.wait_room()


async def read_all(sink: Sink[int]) -> list[int]:
    taken = []
    while True:
        try:
            taken.append(await sink.get())
        except Closed:
            return taken


def read_all_sync(sink: Sink[int]) -> list[int]:
    taken = []
    while True:
        try:
            taken.append(sink.get_blocking())
        except Closed:
            return taken


@pytest.mark.parametrize("buffer", [0, 1, 7, 256])
async def test_one_task_to_another(buffer: int) -> None:
    """Everything put by a task is read by another, in order, for every bound."""
    sink: Sink[int] = Sink(buffer)

    async def whole() -> None:
        await produce(sink, ALL)
        sink.finish()

    task = asyncio.create_task(whole())
    assert await read_all(sink) == list(ALL)
    await task


@pytest.mark.parametrize("buffer", [0, 1, 7, 256])
async def test_many_threads_to_a_loop(buffer: int) -> None:
    """Several threads put at once: nothing is lost and each one's order is kept."""
    sink: Sink[int] = Sink(buffer)
    parts = [range(start, 2_000, 4) for start in range(4)]

    def all_of_them() -> None:
        threads = [threading.Thread(target=produce_sync, args=(sink, part)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sink.finish()

    producing = asyncio.get_running_loop().run_in_executor(None, all_of_them)
    taken = await read_all(sink)
    await producing
    for start, part in enumerate(parts):
        assert [number for number in taken if number % 4 == start] == list(part)


@pytest.mark.parametrize("buffer", [0, 1, 7, 256])
def test_many_threads_to_a_thread(buffer: int) -> None:
    """The blocking reader gets everything, too."""
    sink: Sink[int] = Sink(buffer)
    parts = [range(start, 2_000, 4) for start in range(4)]
    threads = [threading.Thread(target=produce_sync, args=(sink, part)) for part in parts]
    for thread in threads:
        thread.start()

    def end() -> None:
        for thread in threads:
            thread.join()
        sink.finish()

    ender = threading.Thread(target=end)
    ender.start()
    assert sorted(read_all_sync(sink)) == list(ALL)
    ender.join()


@pytest.mark.parametrize("buffer", [0, 1, 5, 64])
async def test_the_bound_holds_with_many_producers(buffer: int) -> None:
    """No more than the buffer and one chunk per producer ever wait."""
    sink: Sink[int] = Sink(buffer)
    tasks = [asyncio.create_task(produce(sink, range(200))) for _ in range(10)]
    most = taken = 0
    while taken < 2_000:
        await sink.get()
        taken += 1
        await asyncio.sleep(0)
        most = max(most, sink.statistics().waiting)
    await asyncio.gather(*tasks)
    assert most <= buffer + 10


async def test_a_producer_that_ends_does_not_strand_the_others() -> None:
    """Room made by the reader goes to those who still need it."""
    sink: Sink[int] = Sink(0)
    tasks = [asyncio.create_task(produce(sink, range(length))) for length in (1, 5, 50)]
    assert sorted([await sink.get() for _ in range(56)]) == sorted(
        [*range(1), *range(5), *range(50)]
    )
    await asyncio.gather(*tasks)


async def test_a_cancelled_producer_does_not_strand_the_others() -> None:
    """Cancelling one of two held producers leaves the other its turn."""
    sink: Sink[int] = Sink(0)
    first = asyncio.create_task(produce(sink, range(10)))
    second = asyncio.create_task(produce(sink, range(10)))
    while sink.statistics().held < 2:
        await asyncio.sleep(0)
    first.cancel()
    assert len([await sink.get() for _ in range(11)]) == 11
    await second


async def test_the_error_comes_after_the_chunks_before_it() -> None:
    """What ended the run is raised once, at its place; after it the sink is at its end."""
    sink: Sink[int] = Sink(10)
    sink.put(1)
    sink.put(2)
    sink.finish(ValueError("cut"))
    assert [await sink.get(), sink.get_nowait()] == [1, 2]
    with pytest.raises(ValueError, match="cut"):
        await sink.get()
    with pytest.raises(Closed):
        await sink.get()


async def test_the_first_end_counts() -> None:
    """A second finish cannot hide the error of the first."""
    sink: Sink[int] = Sink(10)
    sink.finish(ValueError("cut"))
    sink.finish()
    with pytest.raises(ValueError, match="cut"):
        sink.get_nowait()


def test_empty_is_not_the_end() -> None:
    """An empty sink whose run goes on says Empty, not Closed."""
    with pytest.raises(Empty):
        Sink[int](1).get_nowait()


@pytest.mark.parametrize("late", [False, True])
async def test_leaving_stops_held_and_later_producers(late: bool) -> None:
    """A producer that waits when the reader goes, and one that puts afterwards, get ReaderLeft."""
    sink: Sink[int] = Sink(0)
    if late:
        sink.close()
        with pytest.raises(ReaderLeft):
            sink.put(1)
        return
    in_task = asyncio.create_task(produce(sink, ALL))
    in_thread = asyncio.get_running_loop().run_in_executor(None, catch, produce_sync, sink)
    while sink.statistics().held < 2:
        await asyncio.sleep(0)
    sink.close()
    with pytest.raises(ReaderLeft):
        await in_task
    assert isinstance(await in_thread, ReaderLeft)


def catch(call: Callable[[Sink[int], range], None], sink: Sink[int]) -> BaseException | None:
    try:
        call(sink, ALL)
    except ReaderLeft as left:
        return left
    return None


def test_aborts_run_when_the_reader_leaves() -> None:
    """What was registered is called once on leaving; what was done with is not."""
    sink: Sink[int] = Sink(0)
    called: list[str] = []
    sink.on_leave("a", lambda: called.append("a"))
    sink.on_leave("b", lambda: called.append("b"))
    sink.done("a")
    sink.close()
    sink.close()
    assert called == ["b"]
    sink.on_leave("late", lambda: called.append("late"))
    assert called == ["b", "late"]


@pytest.mark.parametrize("bad", [-1, 1.5, True, None, "8"])
def test_a_bound_is_a_number_of_chunks(bad: object) -> None:
    """Anything but a whole number from 0 is refused in words."""
    with pytest.raises(ValueError, match="buffer is a number of chunks, 0 or more"):
        Sink(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("buffer", "calls"), [(0, 10), (1, 3), (64, 10)])
async def test_a_pump_keeps_the_queue_before_it_small(buffer: int, calls: int) -> None:
    """Producers whose chunks wait in somebody else's queue are held until the pump caught up."""
    sink: Sink[int] = Sink(buffer)
    gate = PumpGate(sink, threading.get_ident())
    queue: asyncio.Queue[int] = asyncio.Queue()
    most = 0

    async def call() -> None:
        for number in range(200):
            queue.put_nowait(number)
            await gate.admit()

    async def pump() -> None:
        for _ in range(calls * 200):
            await gate.forward(await queue.get())
        sink.finish()

    tasks = [asyncio.create_task(call()) for _ in range(calls)]
    pumping = asyncio.create_task(pump())
    taken = 0
    while True:
        try:
            await sink.get()
        except Closed:
            break
        taken += 1
        most = max(most, queue.qsize())
        for _ in range(10):  # a slow reader: everyone else has had their turns
            await asyncio.sleep(0)
    await asyncio.gather(pumping, *tasks)
    assert taken == calls * 200
    assert most <= max(buffer, 16) + 2 * calls
