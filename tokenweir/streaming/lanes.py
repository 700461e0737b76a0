"""``lanes``: one stream, branched by filters, each branch read at its own pace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

from tokenweir.streaming.any_stream import close_stream, is_async, token_of
from tokenweir.streaming.channel import ReaderLeft, SendChannel, open_channel
from tokenweir.streaming.filters import Filter, FilterLike, as_filter
from tokenweir.streaming.token_stream import ChannelStream, Producer, TokenStream
from tokenweir.types import Token

__all__ = ["lanes"]


def lanes(
    stream: AsyncIterator[Token],
    *filters: FilterLike,
    buffer: int = 256,
) -> tuple[TokenStream[Token], ...]:
    """Branch a stream into lanes, one per filter.

    ::

        joke, poem = lanes(astream(graph, inputs), tag("joke"), tag("poem"))

    A token goes into every lane whose filter it passes, and is dropped if it passes none. Each lane
    has its own buffer: a lane that is not read does not delay the others until its buffer is full;
    then the stream waits for it. Close a lane that you no longer need (``aclose()``, or drop the
    last reference to it). When all lanes are closed, the stream is closed. An error of the stream
    is raised in every lane, after its tokens.

    Args:
        stream: An async stream of ``(chunk, metadata)``.
        *filters: The filter of each lane, as for ``only=``.
        buffer: How many tokens may wait in each lane.

    Returns:
        One lane per filter, in the same order.
    """
    if not is_async("lanes", stream):
        raise TypeError(
            "lanes branch an async stream: lanes(astream(...), ...). "
            "A sync stream has one reader; filter it with only="
        )
    if not filters:
        raise TypeError("lanes takes a filter for each lane: lanes(stream, tag('joke'), ...)")
    senders: list[tuple[Filter | None, SendChannel[Token]]] = []
    producer = Producer(partial(_deal, stream, senders), stream)

    def branch(only: FilterLike) -> TokenStream[Token]:
        send, receive = open_channel(buffer)
        senders.append((as_filter(only), send))
        return ChannelStream(receive, producer)

    return tuple(map(branch, filters))


async def _deal(
    stream: AsyncIterator[Any], lanes: list[tuple[Filter | None, SendChannel[Token]]]
) -> None:
    """Send each token into the lanes that it passes; wait for the lanes that are full."""
    try:
        async for part in stream:
            chunk, metadata = token = token_of(part)
            for only, lane in lanes:
                if not lane.closed and (only is None or only(metadata, chunk)):
                    lane.send_nowait(token)
            for _, lane in lanes:
                if lane.full:
                    with suppress(ReaderLeft):  # this lane was closed meanwhile; others continue
                        await lane.wait_for_room()
    except BaseException as error:
        for _, lane in lanes:
            lane.end(error if isinstance(error, Exception) else None)
        if not isinstance(error, Exception):
            raise
    else:
        for _, lane in lanes:
            lane.end()
    finally:
        await close_stream(stream)
