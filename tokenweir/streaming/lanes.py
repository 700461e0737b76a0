"""``lanes``: one stream, branched by filters, each branch read at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from tokenweir.streaming.channel import (
    EndOfStream,
    ReaderLeft,
    ReceiveChannel,
    SendChannel,
    WouldBlock,
    open_channel,
)
from tokenweir.streaming.filters import Filter, as_filter
from tokenweir.types import StreamStatistics, Token

__all__ = ["Lane", "lanes"]


def lanes(
    stream: AsyncIterator[Token],
    *filters: Filter | str | Callable[..., object],
    buffer: int = 256,
) -> tuple[Lane, ...]:
    """Branch a stream into lanes, one per filter.

    ::

        joke, poem = lanes(astream(graph, inputs), tag("joke"), tag("poem"))

    A token goes into every lane whose filter it passes, and nowhere if it passes none. Each lane
    has a buffer of its own: a lane that is not read does not hold up the others until its buffer
    is full; then the stream waits for it. Close a lane that is not wanted any more (``aclose()``,
    or just let go of it). When all are closed the stream is closed. An error of the stream is
    raised in every lane, after its tokens.

    Args:
        stream: An async stream of ``(chunk, metadata)``.
        *filters: Which calls go into which lane, as for ``only=``.
        buffer: Tokens that may wait in each lane.

    Returns:
        As many lanes as filters, in their order.
    """
    if not hasattr(stream, "__aiter__"):
        raise TypeError(
            "lanes branch an async stream: lanes(astream(...), ...). "
            "A sync stream has one reader; filter it with only="
        )
    if not filters:
        raise TypeError("lanes takes a filter for each lane: lanes(stream, tag('joke'), ...)")
    branch = _Branch(stream)
    return tuple(Lane(branch, as_filter(only), buffer) for only in filters)


class Lane(AsyncIterator[Token]):
    """One branch of a stream: an async iterator of ``(chunk, metadata)``."""

    def __init__(self, branch: _Branch, only: Filter | None, buffer: int) -> None:
        self.only = only
        self._branch = branch
        send: SendChannel[Token]
        self._channel: ReceiveChannel[Token]
        send, self._channel = open_channel(buffer)
        branch.lanes.append((only, send))

    def __aiter__(self) -> Lane:
        return self

    async def __anext__(self) -> Token:
        self._branch.start()
        try:
            return self._channel.receive_nowait()
        except WouldBlock:
            pass
        except EndOfStream:
            raise StopAsyncIteration from None
        try:
            return await self._channel.receive()
        except EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Leave this lane; the last one to be closed closes the stream."""
        self._channel.close()
        await self._branch.leave()

    async def __aenter__(self) -> Lane:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def statistics(self) -> StreamStatistics:
        """How many tokens wait in this lane."""
        return self._channel.statistics()

    def __repr__(self) -> str:
        return f"<Lane {self.only} {self._channel.statistics().waiting} waiting>"

    def __del__(self) -> None:
        self._channel.close()
        self._branch.leave_soon()


class _Branch:
    """The stream under its lanes, read by one task that starts with the first reader."""

    def __init__(self, stream: AsyncIterator[Token]) -> None:
        self.stream = stream
        self.lanes: list[tuple[Filter | None, SendChannel[Token]]] = []
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(_deal(self.stream, self.lanes))

    def _deserted(self) -> bool:
        return all(lane.closed for _, lane in self.lanes)

    async def leave(self) -> None:
        if not self._deserted():
            return
        if self.task is None:
            await _close(self.stream)
        elif not self.task.done():
            self.task.cancel()
            await asyncio.wait([self.task])

    def leave_soon(self) -> None:
        if self._deserted() and self.task is not None and not self.task.done():
            loop = self.task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(self.task.cancel)


async def _deal(
    stream: AsyncIterator[Token], lanes: list[tuple[Filter | None, SendChannel[Token]]]
) -> None:
    """Put each token where it belongs; wait for the lanes that are full."""
    try:
        async for token in stream:
            for only, lane in lanes:
                if not lane.closed and (only is None or only(token[1], token[0])):
                    lane.send_nowait(token)
            for _, lane in lanes:
                if lane.full:
                    await _until_room(lane)
    except BaseException as error:
        for _, lane in lanes:
            lane.end(error if isinstance(error, Exception) else None)
        if not isinstance(error, Exception):
            raise
    else:
        for _, lane in lanes:
            lane.end()
    finally:
        await _close(stream)


async def _until_room(lane: SendChannel[Any]) -> None:
    with suppress(ReaderLeft):  # its lane was closed meanwhile: the others go on
        await lane.wait_for_room()


async def _close(stream: Any) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
