"""A stage of a stream: reads its tokens, yields its own items, and closes it.

A stage is written once, as an async generator. Over a sync stream its steps run without an event
loop, because none of them suspends.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, TypeAlias, TypeVar

from tokenweir.streaming.any_stream import (
    ReadyIterator,
    close_stream,
    complete,
    is_async,
    token_of,
)
from tokenweir.streaming.token_stream import SyncTokenStream, TokenStream
from tokenweir.types import StreamStatistics, Token

__all__ = ["Steps", "stage"]

T = TypeVar("T")

Steps: TypeAlias = Callable[[AsyncIterator[Token]], AsyncGenerator[T, None]]


def stage(function: str, stream: Any, steps: Steps[T]) -> Any:
    """The stream of the items that ``steps`` yields for the tokens of a stream.

    Args:
        function: The name of the function that was given the stream, for its error.
        stream: Any stream of ``(chunk, metadata)``, async or sync. Closed with the stage, at its
            end, and when either fails.
        steps: An async generator. For a sync stream it must not await anything but its tokens.

    Returns:
        A ``TokenStream``, or a ``SyncTokenStream`` for a sync stream.

    Raises:
        TypeError: If this is not a stream; at the reader, if its parts are not tokens.
    """
    if is_async(function, stream):
        return _Stage(stream, steps(_Tokens(aiter(stream))))
    return _SyncStage(stream, steps(_Tokens(ReadyIterator(stream))))


class _Tokens(AsyncIterator[Token]):
    def __init__(self, parts: AsyncIterator[Any]) -> None:
        self._parts = parts

    async def __anext__(self) -> Token:
        return token_of(await self._parts.__anext__())


class _Stage(TokenStream[T]):
    def __init__(self, source: Any, made: AsyncGenerator[T, None]) -> None:
        self._source, self._made = source, made
        self._over = False

    async def __anext__(self) -> T:
        if self._over:
            raise StopAsyncIteration
        try:
            return await self._made.__anext__()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        self._over = True
        await close_stream(self._source)

    def statistics(self) -> StreamStatistics:
        return _statistics_of(self._source)


class _SyncStage(SyncTokenStream[T]):
    def __init__(self, source: Any, made: AsyncGenerator[T, None]) -> None:
        self._source, self._made = source, made
        self._over = False

    def __next__(self) -> T:
        if self._over:
            raise StopIteration
        try:
            return complete(_next(self._made))
        except StopAsyncIteration:
            self.close()
            raise StopIteration from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._over = True
        complete(close_stream(self._source))

    def statistics(self) -> StreamStatistics:
        return _statistics_of(self._source)


async def _next(made: AsyncGenerator[T, None]) -> T:
    return await made.__anext__()


def _statistics_of(stream: Any) -> StreamStatistics:
    """The statistics of one of Tokenweir's streams; all 0 for others, which have no buffer."""
    statistics: Any = getattr(stream, "statistics", None)
    return StreamStatistics(0, 0, 0, 0) if statistics is None else statistics()
