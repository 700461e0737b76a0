"""What every function that takes a stream, and every stream that one returns, has in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk

from tokenweir import Meter, collect, guard, lanes, objects, show, tag
from tokenweir.types import StreamStatistics

TOKEN = (AIMessageChunk(content="Why", id="1"), {"tags": ["joke"]})
WRONG: list[Any] = [
    {"topic": "cats"},
    "text",
    42,
    (1, {}),
    ({"topic": "cats"}, {}),
    (TOKEN[0], None),
]
SEVERAL: list[Any] = [
    ("messages", TOKEN),
    (("editor:1",), TOKEN),
    (("editor:1",), "messages", TOKEN),
    ("updates", {"write": {"joke": "Why"}}),
    {"type": "messages", "ns": (), "data": TOKEN},
]


async def arriving(*parts: Any) -> AsyncIterator[Any]:
    for part in parts:
        yield part


async def read(stream: Any) -> list[Any]:
    return [part async for part in stream]


USERS: dict[str, Callable[[Any], Any]] = {
    "collect": collect,
    "Meter.watch": lambda stream: read(Meter().watch(stream)),
    "objects": lambda stream: read(objects(stream, list[int])),
    "guard": lambda stream: read(guard(tag("joke"), "x")(stream)),
    "lanes": lambda stream: read(lanes(stream, tag("joke"))[0]),
    "show": show,
}
SYNC_USERS: dict[str, Callable[[Any], Any]] = {
    "collect": collect,
    "Meter.watch": lambda stream: list(Meter().watch(stream)),
    "objects": lambda stream: list(objects(stream, list[int])),
    "guard": lambda stream: list(guard(tag("joke"), "x")(stream)),
    "show": show,
}


def error_of(part: Any) -> str:
    """The one message for a part that is no token."""
    with pytest.raises(TypeError) as caught:
        collect([part])
    return str(caught.value)


@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize("part", [*WRONG, *SEVERAL], ids=str)
async def test_a_stream_of_another_shape_is_the_same_error_everywhere(name: str, part: Any) -> None:
    """It says what came and how to stream; only ``show`` takes several modes and subgraphs."""
    if name == "show" and part in SEVERAL:
        await show(arriving(part))
        show([part])
        return
    with pytest.raises(TypeError, match=r"expected a stream of \(chunk, metadata\)") as caught:
        await USERS[name](arriving(TOKEN, part))
    assert str(caught.value) == error_of(part)
    if name in SYNC_USERS:
        with pytest.raises(TypeError) as caught:
            SYNC_USERS[name]([TOKEN, part])
        assert str(caught.value) == error_of(part)


@pytest.mark.parametrize("name", USERS)
def test_what_is_no_stream_is_the_same_error_everywhere(name: str) -> None:
    """It names the function and what it was given."""
    with pytest.raises(TypeError, match=rf"^{name} takes a stream of \(chunk, metadata\), not 42$"):
        asyncio.run(USERS[name](42))


async def test_every_stream_is_closed_entered_and_asked_alike() -> None:
    """Lanes and watched streams are what ``astream`` returns, whatever stream is below them."""
    closed: list[str] = []

    async def endless(name: str) -> AsyncIterator[Any]:
        try:
            while True:
                yield TOKEN
                await asyncio.sleep(0)
        finally:
            closed.append(name)

    streams = [
        lanes(endless("lane"), tag("joke"), buffer=4)[0],
        Meter().watch(endless("watch")),
        Meter().watch(lanes(endless("watched lane"), tag("joke"), buffer=4)[0]),
    ]
    for stream in streams:
        async with stream as entered:
            assert await anext(entered) == TOKEN
            assert isinstance(entered.statistics(), StreamStatistics)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert closed == ["lane", "watch", "watched lane"]
    assert streams[2].statistics().buffer == 4


def test_every_sync_stream_is_closed_entered_and_asked_alike() -> None:
    """A watched sync stream has ``with``, ``close`` and ``statistics``, also over a list."""
    closed: list[str] = []

    def endless() -> Iterator[Any]:
        try:
            while True:
                yield TOKEN
        finally:
            closed.append("generator")

    for source in (endless(), iter([TOKEN, TOKEN])):
        with Meter().watch(source) as watched:
            assert next(watched) == TOKEN
            assert watched.statistics() == StreamStatistics(0, 0, 0, 0)
        assert list(watched) == []
    assert closed == ["generator"]


async def test_a_cancelled_reader_closes_its_stream() -> None:
    """As a cancelled ``async for`` closes a generator: what fed the reader does not run on."""
    closed = asyncio.Event()

    async def silent() -> AsyncIterator[Any]:
        try:
            await asyncio.Event().wait()
            yield TOKEN
        finally:
            closed.set()

    for stream in (
        lanes(silent(), tag("joke"))[0],
        Meter().watch(silent()),
        objects(silent(), list[int]),
        guard(None, "x")(silent()),
    ):
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert closed.is_set()
        closed.clear()
