"""``collect``: the final message of every model call of a stream."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import Any, TypeAlias, overload

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, RemoveMessage

from tokenweir.streaming.any_stream import read_all, token_of
from tokenweir.streaming.content import call_of, text_of
from tokenweir.streaming.merge import message_of
from tokenweir.types import Metadata, Token

__all__ = ["collect"]

Collected: TypeAlias = list[tuple[AnyMessage, Metadata]]


@overload
def collect(stream: AsyncIterable[Token]) -> Awaitable[Collected]: ...


@overload
def collect(stream: Iterable[Token]) -> Collected: ...


def collect(stream: Any) -> Any:
    """Read a stream to its end, and return the final message of each call.

    ::

        for message, metadata in await collect(astream(graph, inputs)):
            if message.type == "ai":
                print(metadata["langgraph_node"], message.text, message.tool_calls)

    Args:
        stream: A stream of ``(chunk, metadata)``: ``astream(...)`` (await the result) or
            ``stream(...)``.

    Returns:
        ``(message, metadata)`` per call, in the order in which the calls' first tokens came. A
        model's answer is an ``AIMessage``, as the node itself got it; a message that a node
        returned, such as a ``ToolMessage``, is returned unchanged. Chunks that are not messages,
        from nodes without LangChain, count as one call per node run and tags. Messages that the
        stream retracts (``RemoveMessage``) are left out.

    Raises:
        TypeError: If this is not a stream of ``(chunk, metadata)``.
    """
    calls: dict[Any, tuple[list[Any], Metadata]] = {}

    def take(part: Any) -> None:
        chunk, metadata = token_of(part)
        call = call_of(chunk, metadata)
        if isinstance(chunk, RemoveMessage) and call in calls:
            del calls[call]  # it is void
        else:
            calls.setdefault(call, ([], metadata))[0].append(chunk)

    def messages() -> list[tuple[BaseMessage, Metadata]]:
        return [(_whole(chunks), metadata) for chunks, metadata in calls.values()]

    return read_all("collect", stream, take, messages)


def _whole(chunks: list[Any]) -> BaseMessage:
    if isinstance(chunks[0], BaseMessage):
        return message_of(chunks)
    return AIMessage(content="".join(map(text_of, chunks)))
