"""``collect``: the final message of every model call of a stream."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import Any, overload

from langchain_core.messages import AIMessage, BaseMessage

from tokenweir.streaming.merge import message_of
from tokenweir.types import Metadata, Token

__all__ = ["Collector", "collect"]


class Collector:
    """Gathers tokens, and adds them up when asked; costs the same for each token.

    Takes ``(chunk, metadata)``; chunks with one id are one call. Chunks that are plain dicts with
    ``content``, as nodes without LangChain write them, are one call per node run and tags.
    """

    def __init__(self) -> None:
        self._calls: dict[Any, tuple[list[Any], Metadata]] = {}

    def feed(self, chunk: Any, metadata: Metadata) -> None:
        """Take one token."""
        if isinstance(chunk, BaseMessage):
            key: Any = chunk.id or id(metadata)
        elif isinstance(chunk, dict) and "content" in chunk:
            key = (metadata.get("langgraph_checkpoint_ns"), *(metadata.get("tags") or ()))
        else:
            raise _not_a_token((chunk, metadata))
        call = self._calls.get(key)
        if call is None:
            self._calls[key] = ([chunk], metadata)
        else:
            call[0].append(chunk)

    def results(self) -> list[tuple[BaseMessage, Metadata]]:
        """The message of each call so far with its metadata, in the order of their first tokens."""
        return [(_whole(chunks), metadata) for chunks, metadata in self._calls.values()]


@overload
def collect(stream: AsyncIterable[Token]) -> Awaitable[list[tuple[BaseMessage, Metadata]]]: ...


@overload
def collect(stream: Iterable[Token]) -> list[tuple[BaseMessage, Metadata]]: ...


def collect(stream: Any) -> Any:
    """Read a stream to its end, and return the final message of each call.

    ::

        for message, metadata in await collect(astream(graph, inputs)):
            print(metadata["langgraph_node"], message.content)

    Args:
        stream: A stream of ``(chunk, metadata)``: ``astream(...)`` (await the result) or
            ``stream(...)``.

    Returns:
        ``(message, metadata)`` per call, in the order in which the calls' first tokens came. The
        messages are whole ones (``AIMessage``), as the node itself got them.
    """
    if hasattr(stream, "__aiter__"):
        return _collect(stream)
    if not hasattr(stream, "__iter__"):
        raise TypeError(f"collect takes a stream of (chunk, metadata), not {stream!r}")
    collector = Collector()
    for token in stream:
        collector.feed(*_checked(token))
    return collector.results()


async def _collect(stream: AsyncIterable[Any]) -> list[tuple[BaseMessage, Metadata]]:
    collector = Collector()
    async for token in stream:
        collector.feed(*_checked(token))
    return collector.results()


def _checked(token: Any) -> Token:
    if isinstance(token, (tuple, list)) and len(token) == 2 and isinstance(token[1], dict):
        return token[0], token[1]
    raise _not_a_token(token)


def _not_a_token(token: Any) -> TypeError:
    return TypeError(
        f"expected a stream of (chunk, metadata), not of {type(token).__name__}: {token!r:.80}. "
        'Stream with stream_mode="messages" (or "custom" with tokens in it) and subgraphs=False'
    )


def _whole(chunks: list[Any]) -> BaseMessage:
    if isinstance(chunks[0], BaseMessage):
        return message_of(chunks)
    return AIMessage(content="".join(str(chunk["content"]) for chunk in chunks))
