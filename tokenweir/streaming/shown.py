"""What a reader was shown of a run, as the messages that a stopped run leaves in its state. No I/O.

After a stop the state is to hold what the reader has seen, in an order that model providers take:
an answer's tool calls are followed by one tool message each, and by nothing else before them.
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
"""The key in ``response_metadata`` of a message that a stop has cut; its value is True."""

_NOT_RUN = "The call of {name} was interrupted: the run was stopped, and there is no result."


class Shown:
    """The messages that a reader was given, and that are not void."""

    def __init__(self) -> None:
        self._chunks: dict[str, list[BaseMessage]] = {}
        self._tasks: dict[str, str] = {}

    def take(self, message: Any, metadata: ReadOnlyMetadata) -> None:
        """The reader is given a message, a chunk of one, or the word that one is void."""
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
            held: The ids of messages that the state holds.
            tasks: The tasks of the graph that the stop has cut, as ``name:id``. What a task that
                was done did not give to the state is not for the state.
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
        # A call without a name cannot be answered, and one that cannot be read not be sent.
        message.tool_calls = [each for each in message.tool_calls if each["name"] and each["id"]]
        message.invalid_tool_calls = []
        ended = any(each.response_metadata.get("finish_reason") for each in chunks)
        if isinstance(last, AIMessageChunk) and not ended and last.chunk_position != "last":
            message.response_metadata = {**message.response_metadata, INTERRUPTED: True}
    return message


def closing(call: Any) -> ToolMessage:
    """The tool message that says of a call that it was interrupted."""
    return ToolMessage(
        _NOT_RUN.format(name=call["name"]),
        tool_call_id=call["id"],
        name=call["name"],
        status="error",
        response_metadata={INTERRUPTED: True},
    )


def in_order(state: Sequence[Any], left: Sequence[BaseMessage]) -> list[Any]:
    """The messages of a state and those that are left, as providers take them.

    The results of an answer's tool calls come right after it, also if the state has the message of
    another branch between. A call that has no result gets a message that says so. A result that is
    left and has no call is left out.
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
