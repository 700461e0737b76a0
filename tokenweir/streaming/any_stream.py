"""Reads any stream of tokens: Tokenweir's own, ``graph.astream()`` or a plain list.

``read_all`` serves async and sync streams: for sync ones, ``complete`` runs its coroutine without
an event loop.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from tokenweir.types import Token

__all__ = [
    "ReadyIterator",
    "close_stream",
    "complete",
    "is_async",
    "read_all",
    "token_in",
    "token_of",
]

T = TypeVar("T")


def is_async(function: str, stream: Any) -> bool:
    """Whether a stream given to this function is async.

    Raises:
        TypeError: If it is not a stream.
    """
    if not hasattr(stream, "__aiter__") and not hasattr(stream, "__iter__"):
        raise TypeError(f"{function} takes a stream of (chunk, metadata), not {stream!r}")
    return hasattr(stream, "__aiter__")


def token_of(part: Any) -> Token:
    """Return the part of a stream as a token.

    Raises:
        TypeError: If the part is not a token.
    """
    if _is_token(part):
        return part  # type: ignore[no-any-return]
    raise TypeError(
        f"expected a stream of (chunk, metadata), not of {type(part).__name__}: {part!r:.80}. "
        'Stream with stream_mode="messages" (or "custom" with tokens in it) and subgraphs=False'
    )


def token_in(part: Any) -> Token | None:
    """The token in a part of a stream of several modes or subgraphs; None if it holds none.

    Raises:
        TypeError: If such streams yield no parts of this shape.
    """
    match part:
        case [[*_], str(), inner] | [str() | [*_], inner] | {"type": _, "ns": _, "data": inner}:
            # A node may write plain strings as tokens: (text, metadata) is not (mode, payload).
            part = part if _is_token(part) else inner
            return part if _is_token(part) else None
    return token_of(part)


def _is_token(part: Any) -> bool:
    if not isinstance(part, (tuple, list)) or len(part) != 2 or not isinstance(part[1], dict):
        return False
    chunk, metadata = part
    if hasattr(chunk, "content"):  # a message: first, because most are
        return True
    if isinstance(chunk, str):
        return "langgraph_node" in metadata or "tags" in metadata
    return isinstance(chunk, dict) and "content" in chunk


def read_all(
    function: str,
    stream: Any,
    take: Callable[[Any], None],
    result: Callable[[], Any] = lambda: None,
    within: AbstractContextManager[Any] | None = None,
) -> Any:
    """Read a stream to its end, and close it.

    Args:
        function: The name of the function that was given the stream, for its error.
        stream: Any stream, async or sync.
        take: Takes each part.
        result: Makes the result at the end.
        within: Entered around the reading.

    Returns:
        The result; awaitable for an async stream.
    """
    within = within or nullcontext()
    if is_async(function, stream):
        return _read_all(stream, aiter(stream), take, result, within)
    return complete(_read_all(stream, ReadyIterator(stream), take, result, within))


async def _read_all(
    stream: Any,
    parts: AsyncIterator[Any],
    take: Callable[[Any], None],
    result: Callable[[], Any],
    within: AbstractContextManager[Any],
) -> Any:
    try:
        with within:
            async for part in parts:
                take(part)
    finally:
        await close_stream(stream)
    return result()


async def close_stream(stream: Any) -> None:
    """Close a stream or a response, by its ``aclose()`` or ``close()``, if it has one."""
    close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
    closing = close() if close is not None else None
    if inspect.isawaitable(closing):
        await closing


class ReadyIterator(AsyncIterator[T]):
    """A sync iterable as an async one, for ``complete``: it blocks and never awaits."""

    def __init__(self, items: Any) -> None:
        self._items = iter(items)

    async def __anext__(self) -> T:
        try:
            return next(self._items)  # type: ignore[no-any-return]
        except StopIteration:
            raise StopAsyncIteration from None


def complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, such as one that reads a ``ReadyIterator``.

    This lets one coroutine serve async and sync callers.
    """
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]
    raise RuntimeError(f"{coroutine} waits, although it was run without an event loop")
