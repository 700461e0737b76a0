"""Turns a run's record into messages that begin, grow block by block, and end. No I/O.

For protocols with events for each of these; ``streaming/blocks.py`` describes the events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tokenweir.serving.log.events import END, Envelope, Event
from tokenweir.streaming.blocks import CHUNK, RETRACTED, Block, MessageBlocks

__all__ = ["RETRACTED", "Block", "Message", "Messages", "Told", "message_in"]


class Message(MessageBlocks):
    """A message of a run.

    Attributes:
        namespace: The path of the subgraph that it comes from.
        metadata: LangGraph's metadata: tags, node, step.
        task: The id of the task that runs its node; "" if unknown.
    """

    __slots__ = ("metadata", "namespace", "task")

    def __init__(
        self, message_id: str, namespace: tuple[str, ...], metadata: dict[str, Any]
    ) -> None:
        super().__init__(message_id)
        self.namespace = namespace
        self.metadata = metadata
        place = str(metadata.get("langgraph_checkpoint_ns") or "")
        self.task = place.rpartition(":")[2]

    @property
    def node(self) -> str | None:
        """The node that it comes from."""
        node = self.metadata.get("langgraph_node")
        return None if node is None else str(node)


class Told(msgspec.Struct, frozen=True, gc=False):
    """An event of a message's life.

    Attributes:
        message: The message.
        data: One of ``langchain_protocol``'s ``MessagesData``.
    """

    message: Message
    data: dict[str, Any]


class Messages:
    """The messages of one run, from its events in order.

    It leaves out messages of users and tools: these come with the state.
    """

    def __init__(self) -> None:
        self._open: dict[str, Message] = {}
        self._known: dict[str, int] = {}
        """By message: the number of its blocks when it ended."""
        self._nameless: dict[tuple[Any, ...], str] = {}
        self._texts: dict[Envelope, tuple[Message, Block]] = {}

    @property
    def open(self) -> list[Message]:
        """The messages that have begun and not ended."""
        return list(self._open.values())

    def text(self, event: Event) -> tuple[Message, Block] | None:
        """The open block that a token only adds text to, as nearly all tokens do; else None.

        The text, ``event.body``, is not added: call ``feed``, or append it to ``pieces``.
        """
        return None if event.envelope is None else self._texts.get(event.envelope)

    def feed(self, event: Event) -> list[Told]:
        """What an event means for messages; an empty list if it is about something else."""
        mode = event.mode
        if (found := message_in(event)) is not None:
            return list(self._message(event, *found))
        if mode == "tasks" and "result" in event.value:
            task = event.value.get("id")
            ended = [each for each in self._open.values() if task and each.task == task]
            error = event.value.get("error")
            return [told for each in ended for told in self._ended(each, error)]
        if mode == END:
            failed = event.value["status"] in ("error", "timeout")
            error = "the run failed" if failed else None
            return [told for each in self.open for told in self._ended(each, error)]
        return []

    def _message(
        self, event: Event, fields: dict[str, Any], metadata: dict[str, Any]
    ) -> Iterator[Told]:
        kind = fields.get("type")
        if kind not in (CHUNK, "ai", "remove"):
            return
        message_id = self._id(fields, metadata)
        message = self._open.get(message_id)
        if kind == "remove":
            if message is None and message_id in self._known:
                message = Message(message_id, event.namespace, metadata)
                message.blocks = [
                    Block(index, "text", {}) for index in range(self._known[message_id])
                ]
            if message is not None:
                self._close(message)
                yield Told(message, message.retract())
            return
        if message is None:
            if kind == "ai" and message_id in self._known:
                return  # it came in chunks
            self._known[message_id] = 0
            message = self._open[message_id] = Message(message_id, event.namespace, metadata)
            yield Told(message, message.begin(fields, **metadata))
        for block, data in message.feed(fields):
            if block.kind == "text" and event.envelope is not None:
                self._texts[event.envelope] = (message, block)
            yield Told(message, data)
        if kind == "ai" or fields.get("chunk_position") == "last":
            yield from self._ended(message, None)

    def _id(self, fields: dict[str, Any], metadata: dict[str, Any]) -> str:
        """A message's id; for one without, a generated id that stands for all its call writes."""
        if isinstance(given := fields.get("id"), str):
            return given
        call = (metadata.get("langgraph_checkpoint_ns"), *(metadata.get("tags") or ()))
        known = self._nameless.get(call)
        if known is None or known not in self._open:
            known = f"message-{call[0]}-{len(self._known)}"
            self._nameless[call] = known
        return known

    def _ended(self, message: Message, error: Any) -> Iterator[Told]:
        self._close(message)
        for data in message.end(error):
            yield Told(message, data)

    def _close(self, message: Message) -> None:
        self._open.pop(message.id, None)
        self._known[message.id] = len(message.blocks)
        for envelope in [e for e, (owner, _) in self._texts.items() if owner is message]:
            del self._texts[envelope]


def message_in(event: Event) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The message and its metadata, if an event of ``messages`` or ``custom`` holds one."""
    token = event.token
    if token is None or not isinstance(token[0], dict):
        return None
    return token if {"type", "id", "content"} <= token[0].keys() else None
