"""The channel: bounded, loses nothing, wakes everyone, lets producers go when the reader leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from tokenweir.streaming.channel import (
    EndOfStream,
    ReaderLeft,
    ReceiveChannel,
    SendChannel,
    WouldBlock,
    open_channel,
)
from tokenweir.streaming.flow_control import PumpedFlowControl

ALL = range(2_000)


def channel(buffer: int) -> tuple[SendChannel[int], ReceiveChannel[int]]:
    return open_channel(buffer)


async def produce(send: SendChannel[int], numbers: range) -> None:
    for number in numbers:
        send.send_nowait(number)
        if send.full:
            await send.wait_for_room()


def produce_sync(send: SendChannel[int], numbers: range) -> None:
    for number in numbers:
        send.send_nowait(number)
        if send.full:
            send.wait_for_room_sync()


async def read_all(receive: ReceiveChannel[int]) -> list[int]:
    taken = []
    while True:
        try:
            taken.append(await receive.receive())
        except EndOfStream:
            return taken


def read_all_sync(receive: ReceiveChannel[int]) -> list[int]:
    taken = []
    while True:
        try:
            taken.append(receive.receive_sync())
        except EndOfStream:
            return taken


@pytest.mark.parametrize("buffer", [0, 1, 7, 256])
async def test_one_task_to_another(buffer: int) -> None:
    """Everything put by a task is read by another, in order, for every bound."""
    send, receive = channel(buffer)

    async def whole() -> None:
        await produce(send, ALL)
        send.end()

    task = asyncio.create_task(whole())
    assert await read_all(receive) == list(ALL)
    await task


@pytest.mark.parametrize("buffer", [0, 1, 7, 256])
async def test_many_threads_to_a_loop(buffer: int) -> None:
    """Several threads put at once: nothing is lost and each one's order is kept."""
    send, receive = channel(buffer)
    parts = [range(start, 2_000, 4) for start in range(4)]

    def all_of_them() -> None:
        threads = [threading.Thread(target=produce_sync, args=(send, part)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        send.end()

    producing = asyncio.get_running_loop().run_in_executor(None, all_of_them)
    taken = await read_all(receive)
    await producing
    for start, part in enumerate(parts):
        assert [number for number in taken if number % 4 == start] == list(part)


@pytest.mark.parametrize("buffer", [0, 1, 7, 256])
def test_many_threads_to_a_thread(buffer: int) -> None:
    """The blocking reader gets everything, too."""
    send, receive = channel(buffer)
    parts = [range(start, 2_000, 4) for start in range(4)]
    threads = [threading.Thread(target=produce_sync, args=(send, part)) for part in parts]
    for thread in threads:
        thread.start()

    def end() -> None:
        for thread in threads:
            thread.join()
        send.end()

    ender = threading.Thread(target=end)
    ender.start()
    assert sorted(read_all_sync(receive)) == list(ALL)
    ender.join()


@pytest.mark.parametrize("buffer", [0, 1, 5, 64])
async def test_the_bound_holds_with_many_producers(buffer: int) -> None:
    """No more than the buffer and one chunk per producer ever wait."""
    send, receive = channel(buffer)
    tasks = [asyncio.create_task(produce(send, range(200))) for _ in range(10)]
    most = taken = 0
    while taken < 2_000:
        await receive.receive()
        taken += 1
        await asyncio.sleep(0)
        most = max(most, receive.statistics().waiting)
    await asyncio.gather(*tasks)
    assert most <= buffer + 10


async def test_a_producer_that_ends_does_not_strand_the_others() -> None:
    """Room made by the reader goes to those who still need it."""
    send, receive = channel(0)
    tasks = [asyncio.create_task(produce(send, range(length))) for length in (1, 5, 50)]
    assert sorted([await receive.receive() for _ in range(56)]) == sorted(
        [*range(1), *range(5), *range(50)]
    )
    await asyncio.gather(*tasks)


async def test_a_cancelled_producer_does_not_strand_the_others() -> None:
    """Cancelling one of two held producers leaves the other its turn."""
    send, receive = channel(0)
    first = asyncio.create_task(produce(send, range(10)))
    second = asyncio.create_task(produce(send, range(10)))
    while receive.statistics().held < 2:
        await asyncio.sleep(0)
    first.cancel()
    assert len([await receive.receive() for _ in range(11)]) == 11
    await second


async def test_the_error_comes_after_the_chunks_before_it() -> None:
    """What ended the run is raised once, at its place; after it the channel is at its end."""
    send, receive = channel(10)
    send.send_nowait(1)
    send.send_nowait(2)
    send.end(ValueError("cut"))
    assert [await receive.receive(), receive.receive_nowait()] == [1, 2]
    with pytest.raises(ValueError, match="cut"):
        await receive.receive()
    with pytest.raises(EndOfStream):
        await receive.receive()


async def test_the_first_end_counts() -> None:
    """A second finish cannot hide the error of the first."""
    send, receive = channel(10)
    send.end(ValueError("cut"))
    send.end()
    with pytest.raises(ValueError, match="cut"):
        receive.receive_nowait()


def test_empty_is_not_the_end() -> None:
    """An empty channel whose run goes on says WouldBlock, not EndOfStream."""
    with pytest.raises(WouldBlock):
        channel(1)[1].receive_nowait()


@pytest.mark.parametrize("late", [False, True])
async def test_leaving_stops_held_and_later_producers(late: bool) -> None:
    """A producer that waits when the reader goes, and one that puts afterwards, get ReaderLeft."""
    send, receive = channel(0)
    if late:
        receive.close()
        with pytest.raises(ReaderLeft):
            send.send_nowait(1)
        return
    in_task = asyncio.create_task(produce(send, ALL))
    in_thread = asyncio.get_running_loop().run_in_executor(None, catch, produce_sync, send)
    while receive.statistics().held < 2:
        await asyncio.sleep(0)
    receive.close()
    with pytest.raises(ReaderLeft):
        await in_task
    assert isinstance(await in_thread, ReaderLeft)


def catch(
    call: Callable[[SendChannel[int], range], None], send: SendChannel[int]
) -> BaseException | None:
    try:
        call(send, ALL)
    except ReaderLeft as left:
        return left
    return None


def test_aborts_run_when_the_reader_leaves() -> None:
    """What was registered is called once on leaving; what was done with is not."""
    send, receive = channel(0)
    called: list[str] = []
    send.add_close_callback("a", lambda: called.append("a"))
    send.add_close_callback("b", lambda: called.append("b"))
    send.remove_close_callback("a")
    receive.close()
    receive.close()
    assert called == ["b"]
    send.add_close_callback("late", lambda: called.append("late"))
    assert called == ["b", "late"]


@pytest.mark.parametrize("bad", [-1, 1.5, True, None, "8"])
def test_a_bound_is_a_number_of_chunks(bad: object) -> None:
    """Anything but a whole number from 0 is refused in words."""
    with pytest.raises(ValueError, match="buffer is a number of chunks, 0 or more"):
        open_channel(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("buffer", "calls"), [(0, 10), (1, 3), (64, 10)])
async def test_a_pump_keeps_the_queue_before_it_small(buffer: int, calls: int) -> None:
    """Producers whose chunks wait in somebody else's queue are held until the pump caught up."""
    send, receive = channel(buffer)
    flow = PumpedFlowControl(send, threading.get_ident())
    queue: asyncio.Queue[int] = asyncio.Queue()
    most = 0

    async def call() -> None:
        for number in range(200):
            queue.put_nowait(number)
            flow.record(1)
            await flow.wait()

    async def pump() -> None:
        for _ in range(calls * 200):
            await flow.pump(await queue.get())
        send.end()

    tasks = [asyncio.create_task(call()) for _ in range(calls)]
    pumping = asyncio.create_task(pump())
    taken = 0
    while True:
        try:
            await receive.receive()
        except EndOfStream:
            break
        taken += 1
        most = max(most, queue.qsize())
        for _ in range(10):  # a slow reader: everyone else has had their turns
            await asyncio.sleep(0)
    await asyncio.gather(pumping, *tasks)
    assert taken == calls * 200
    assert most <= max(buffer, 16) + 2 * calls


@pytest.mark.parametrize("buffer", [0, 4])
async def test_leaving_a_full_pumped_channel(buffer: int) -> None:
    """A reader that leaves while the pump waits frees the producers, and the loop has no error."""
    loop = asyncio.get_running_loop()
    problems: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: problems.append(context))
    send, receive = channel(buffer)
    flow = PumpedFlowControl(send, threading.get_ident())

    async def pump() -> None:
        for number in ALL:
            await flow.pump(number)

    async def call() -> None:
        while True:
            flow.record(1)
            await flow.wait()
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(pump()), asyncio.create_task(call())]
    await receive.receive()
    while not receive.statistics().held:
        await asyncio.sleep(0)
    await receive.receive()  # the pump is to be woken in the turn in which the reader leaves
    receive.close()
    for task in tasks:
        with pytest.raises(ReaderLeft):
            await task
    await asyncio.sleep(0)
    assert problems == []
