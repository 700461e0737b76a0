"""``lanes``: each filter its own iterator, each read at its own pace."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk

from tokenweir.streaming.filters import tag
from tokenweir.streaming.lanes import lanes
from tokenweir.streaming.token_stream import TokenStream


class Source:
    """A stream of tokens that says how far it was read, and whether it was closed."""

    def __init__(self, tags: list[str], error: Exception | None = None, endless: bool = False):
        self.tags, self.error, self.endless = tags, error, endless
        self.given = 0
        self.closed = asyncio.Event()

    async def __call__(self) -> AsyncIterator[Any]:
        try:
            for name in self.tags:
                self.given += 1
                yield AIMessageChunk(content=str(self.given)), {"tags": [name]}
            if self.error is not None:
                raise self.error
            if self.endless:
                await asyncio.Event().wait()
        finally:
            self.closed.set()


async def read(lane: TokenStream[Any]) -> list[str]:
    return [str(chunk.content) async for chunk, _ in lane]


async def test_each_lane_gets_its_own() -> None:
    """A token goes to every lane that it passes, in order, and nowhere if it passes none."""
    source = Source(["a", "b", "c", "a", "b"])
    a, b, not_a = lanes(source(), tag("a"), "tag:b", lambda metadata: metadata["tags"] != ["a"])
    assert list(await asyncio.gather(read(a), read(b), read(not_a))) == [
        ["1", "4"],
        ["2", "5"],
        ["2", "3", "5"],
    ]
    assert source.closed.is_set()


async def test_lanes_one_after_the_other() -> None:
    """The second lane may be read when the first is done, if its buffer holds what waits."""
    first, second = lanes(Source(["a", "b"] * 20)(), tag("a"), tag("b"), buffer=20)
    assert len(await read(first)) == 20
    assert len(await read(second)) == 20


async def test_a_lane_that_is_not_read_holds_the_stream_at_its_buffer() -> None:
    """The others go on until the unread lane is full; then the stream waits, in bounded memory."""
    source = Source(["slow", "fast"] * 1000)
    slow, fast = lanes(source(), tag("slow"), tag("fast"), buffer=5)
    got = [await anext(fast) for _ in range(5)]
    assert len(got) == 5
    waiting = asyncio.ensure_future(anext(fast))
    for _ in range(50):
        await asyncio.sleep(0)
    assert source.given <= 14
    assert slow.statistics().waiting <= 7
    await slow.aclose()
    await waiting
    assert len(await read(fast)) == 994


async def test_an_error_reaches_every_lane_after_its_tokens() -> None:
    """Both readers get what came before the failure, and then the failure."""
    a, b = lanes(Source(["a", "b", "a"], ValueError("cut"))(), tag("a"), tag("b"))
    for lane, count in ((a, 2), (b, 1)):
        for _ in range(count):
            await anext(lane)
        with pytest.raises(ValueError, match="cut"):
            await anext(lane)
        with pytest.raises(StopAsyncIteration):
            await anext(lane)


async def test_closing_the_last_lane_closes_the_stream() -> None:
    """One lane closed changes nothing for the other; with the last one the stream is closed."""
    source = Source(["a", "b"], endless=True)
    a, b = lanes(source(), tag("a"), tag("b"))
    await anext(a)
    await a.aclose()
    assert not source.closed.is_set()
    assert (await anext(b))[0].content == "2"
    await b.aclose()
    assert source.closed.is_set()


async def test_letting_go_of_the_lanes_closes_the_stream() -> None:
    """Lanes that are merely dropped, after a ``break``, close the stream as well."""
    source = Source(["a"] * 3, endless=True)
    [lane] = lanes(source(), tag("a"))
    async for _ in lane:
        break
    del lane
    gc.collect()
    await asyncio.wait_for(source.closed.wait(), 60)


async def test_a_cancelled_reader_leaves_the_others() -> None:
    """A lane whose reader is cancelled may be closed while the other reads on."""
    source = Source(["a", "b", "a"], endless=True)
    a, b = lanes(source(), tag("a"), tag("b"))
    reader = asyncio.ensure_future(read(b))
    await anext(a)
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert (await anext(a))[0].content == "3"
    async with a, b:
        pass
    assert source.closed.is_set()


async def test_lanes_that_are_never_read() -> None:
    """Nothing is read of the stream before a lane is; closing it then closes it all the same."""
    source = Source(["a"])
    stream = source()
    [lane] = lanes(stream, tag("a"))
    await asyncio.sleep(0)
    assert source.given == 0
    await lane.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


def test_wrong_arguments() -> None:
    """A sync stream and a missing filter are refused, with what to do."""
    with pytest.raises(TypeError, match="async stream"):
        lanes([], tag("a"))  # type: ignore[arg-type]

    async def nothing() -> AsyncIterator[Any]:
        yield

    with pytest.raises(TypeError, match="a filter for each lane"):
        lanes(nothing())


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=40), st.integers(0, 5))
def test_together_the_lanes_are_the_stream(tags: list[str], buffer: int) -> None:
    """Whatever comes in whatever order, and however small the buffers, nothing is lost."""

    async def main() -> None:
        branches = lanes(Source(tags)(), tag("a"), tag("b"), tag("c"), buffer=buffer)
        parts = await asyncio.gather(*(read(lane) for lane in branches))
        for name, part in zip("abc", parts, strict=True):
            assert part == [str(n) for n, other in enumerate(tags, 1) if other == name]

    asyncio.run(main())


@pytest.mark.parametrize("both", [False, True])
async def test_a_reader_that_fails(caplog: pytest.LogCaptureFixture, both: bool) -> None:
    """In ``async with`` it closes its own lane alone, and the other has all of its tokens; when the
    other lane is closed, too, so is the stream. Nothing is logged of either."""
    caplog.set_level("DEBUG")

    async def fail(lane: TokenStream[Any]) -> None:
        async with lane:
            async for _ in lane:
                raise ValueError("the reader")

    source = Source(["a", "b"] * 20, endless=both)
    a, b = lanes(source(), tag("a"), tag("b"), buffer=2)
    if both:
        async with b:
            with pytest.raises(ValueError, match="the reader"):
                await asyncio.gather(fail(a), anext(b))
    else:
        failed, texts = await asyncio.gather(fail(a), read(b), return_exceptions=True)
        assert isinstance(failed, ValueError)
        assert len(texts) == 20  # type: ignore[arg-type]
    await source.closed.wait()
    gc.collect()
    assert not [each for each in caplog.records if "selector" not in each.message]
