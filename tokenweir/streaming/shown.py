"""The messages that a reader was shown, for the state of a stopped run. No I/O.

After a stop, the state has to hold what the reader has seen, in an order that model providers
accept: an answer with tool calls is followed directly by one tool message for each call.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    RemoveMessage,
    ToolMessage,
)

from tokenweir.streaming.merge import message_of
from tokenweir.types import ReadOnlyMetadata

__all__ = ["INTERRUPTED", "Shown", "closing", "in_order"]

INTERRUPTED = "interrupted"
"""The key in ``response_metadata`` of a message that a stop has cut off; its value is True."""

_NOT_RUN = "The call of {name} was interrupted: the run was stopped, and there is no result."


class Shown:
    """The messages that a reader was given and that are not void."""

    def __init__(self) -> None:
        self._chunks: dict[str, list[BaseMessage]] = {}
        self._tasks: dict[str, str] = {}

    def take(self, message: Any, metadata: ReadOnlyMetadata) -> None:
        """Note a message, a chunk or a retraction that the reader is given."""
        if not isinstance(message, BaseMessage) or message.id is None:
            return
        if isinstance(message, RemoveMessage):
            self._chunks.pop(message.id, None)
            return
        self._chunks.setdefault(message.id, []).append(message)
        place = str(metadata.get("langgraph_checkpoint_ns", ""))
        self._tasks[message.id] = place.partition("|")[0]

    def left(self, held: Collection[str | None], tasks: Collection[str]) -> list[BaseMessage]:
        """The messages that a stopped run would lose, in the order in which they began.

        Args:
            held: The ids of messages in the state.
            tasks: The graph's interrupted tasks, as ``name:id``. A finished task has already
                returned everything that belongs into the state.
        """
        return [
            _whole(chunks)
            for message_id, chunks in self._chunks.items()
            if message_id not in held and self._tasks[message_id] in tasks
        ]


def _whole(chunks: Sequence[BaseMessage]) -> BaseMessage:
    message, last = message_of(chunks), chunks[-1]
    if isinstance(message, AIMessage):
        message = message.model_copy()
        # A call without a name cannot be answered; one that cannot be parsed cannot be sent.
        message.tool_calls = [each for each in message.tool_calls if each["name"] and each["id"]]
        message.invalid_tool_calls = []
        ended = any(each.response_metadata.get("finish_reason") for each in chunks)
        if isinstance(last, AIMessageChunk) and not ended and last.chunk_position != "last":
            message.response_metadata = {**message.response_metadata, INTERRUPTED: True}
    return message


def closing(call: Any) -> ToolMessage:
    """The tool message that says that a call was interrupted."""
    return ToolMessage(
        _NOT_RUN.format(name=call["name"]),
        tool_call_id=call["id"],
        name=call["name"],
        status="error",
        response_metadata={INTERRUPTED: True},
    )


def in_order(state: Sequence[Any], left: Sequence[BaseMessage]) -> list[Any]:
    """The state's messages and those of ``left``, in an order that providers accept.

    The results of an answer's tool calls come directly after it, even if the state has a message of
    another branch in between. A call without a result gets a message that says so. A result in
    ``left`` without a call is dropped.
    """
    groups: list[list[Any]] = []
    open_calls: list[tuple[Any, list[Any]]] = []
    for place, message in enumerate([*state, *left]):
        if isinstance(message, ToolMessage):
            asked = [each for each in open_calls if each[0]["id"] == message.tool_call_id]
            if asked:
                open_calls.remove(asked[0])
                asked[0][1].append(message)
                continue
            if place >= len(state):
                continue
        group = [message]
        groups.append(group)
        if isinstance(message, AIMessage):
            open_calls += [(call, group) for call in message.tool_calls]
    for call, group in open_calls:
        group.append(closing(call))
    return [message for group in groups for message in group]
