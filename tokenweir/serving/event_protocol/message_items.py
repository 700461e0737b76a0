"""Turns message events of a record into the protocol's ``messages`` events. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from tokenweir.serving.event_protocol.subscription import Subscription
from tokenweir.serving.log.events import Event
from tokenweir.serving.messages import RETRACTED, Block, Message, Messages, Told

__all__ = ["Item", "MessageItems"]

Item: TypeAlias = tuple[str, tuple[str, ...], str | None, Any]
"""Method, namespace, node, and data: a value, or JSON as bytes."""

_GROWS = frozenset({"message-start", "content-block-start", "content-block-delta"})
"""The events of a message before it ends."""

_GROWTH = 1.125
"""The factor by which the arguments of a tool call must grow before they are sent again. They are
sent whole each time, as all clients understand that; the total cost stays linear in the length."""


class MessageItems:
    """The messages of one run.

    Args:
        wanted: The reader's subscription; texts of other messages are not joined.
        on_over: Called when a message has ended.
        compact: Whether to replay compactly: messages are held back until they end, or until
            ``end_replay``, and then sent with one delta per block. Retracted ones are left out.
    """

    def __init__(self, wanted: Subscription, on_over: Callable[[], None], *, compact: bool) -> None:
        self.compact = compact
        self._wanted = wanted
        self._on_over = on_over
        self._messages = Messages()
        self._begun: dict[str, tuple[Message, dict[str, Any]]] = {}
        """The messages held back, with their start events."""
        self._nodes: dict[str, str | None] = {}
        """The node of each open message, by id; numbered if several open messages share a node."""
        self._sent: dict[tuple[str, int], int] = {}
        """How many characters of a tool call's arguments were sent, by message and block."""

    def node_of(self, message: Message) -> str | None:
        """The name of an open message's node."""
        return self._nodes.get(message.id)

    def text(self, event: Event) -> tuple[Message, Block] | None:
        """The open block that this token only adds text to, if there is one."""
        return self._messages.text(event)

    def feed(self, event: Event) -> Iterator[Item]:
        """The items for an event that concerns messages."""
        for told in self._messages.feed(event):
            yield from self._of_message(told)

    def end_replay(self) -> Iterator[Item]:
        """End the compact replay with the growing messages; later events are sent as they come."""
        begun, self._begun = self._begun, {}
        self.compact = False
        for each in begun.values():
            yield from self._whole(*each)

    def _of_message(self, told: Told) -> Iterator[Item]:
        """Add the id and node to each part: clients tell messages apart by them."""
        message, data = told.message, told.data
        if data["event"] == "message-start":
            self._nodes[message.id] = self._name(message)
        if (data.get("delta") or {}).get("type") == "tool-call-delta":
            sent = self._call(message, message.blocks[data["index"]])
            if sent is None:
                return
            data = {**data, "delta": sent}
        if not self.compact:
            yield from self._told(message, data)
        elif data["event"] in _GROWS:
            self._begun.setdefault(message.id, (message, data))
        else:
            begun = self._begun.pop(message.id, None)
            void = data.get("code") == RETRACTED
            if begun is not None and not void:
                yield from self._whole(*begun)
            if begun is None or not void:
                yield from self._told(message, data)
        if data["event"] in ("message-finish", "error"):
            self._nodes.pop(message.id, None)
            for block in message.blocks:
                self._sent.pop((message.id, block.index), None)
            self._on_over()

    def _told(self, message: Message, data: dict[str, Any]) -> Iterator[Item]:
        where = ("messages", message.namespace, self.node_of(message))
        if data.get("code") == RETRACTED:
            for block in message.blocks:
                empty = {"type": "text", "text": ""}
                over = {"event": "content-block-finish", "index": block.index, "content": empty}
                yield *where, {**over, "id": message.id}
        yield *where, {**data, "id": message.id}

    def _whole(self, message: Message, start: dict[str, Any]) -> Iterator[Item]:
        """A message so far, with one delta per block."""
        wanted = self._wanted.wants("messages", message.namespace)
        yield from self._told(message, start)
        for block in message.blocks:
            begun = {"event": "content-block-start", "index": block.index, "content": block.begun}
            yield from self._told(message, begun)
            if block.pieces:
                text = block.text if wanted else ""
                delta = block.told(text)
                if delta["delta"]["type"] == "tool-call-delta":
                    delta["delta"] = _whole_call(block, text)
                yield from self._told(message, delta)

    def _name(self, message: Message) -> str | None:
        others = [self._nodes.get(each.id) for each in self._messages.open if each is not message]
        name, number = message.node, 1
        while name in others:
            number += 1
            name = f"{message.node or ''}#{number}"
        return name

    def _call(self, message: Message, block: Block) -> dict[str, Any] | None:
        key, args = (message.id, block.index), block.text
        if len(args) < _GROWTH * self._sent.get(key, 0):
            return None
        self._sent[key] = len(args)
        return _whole_call(block, args)


def _whole_call(block: Block, args: str) -> dict[str, Any]:
    fields = {**block.fields, "type": block.kind, "args": args}
    return {"type": "block-delta", "fields": fields}
