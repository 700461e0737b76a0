"""The route of one model call: where its messages go, decided once, when the call starts.

A model that knows its routes delivers a token with one call, ``send`` or ``send_text``. LangChain
would instead dispatch each chunk to every callback handler, with a coroutine, a look-up and a
context switch for each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from langchain_core.messages import BaseMessage, RemoveMessage

from tokenweir.streaming.calls import Call, CallMetadata, Received
from tokenweir.streaming.channel import ReaderLeft
from tokenweir.streaming.filters import Filter
from tokenweir.streaming.flow_control import FlowControl
from tokenweir.streaming.run_filter import RunFilter
from tokenweir.types import Metadata, Namespace, Token

__all__ = ["CallbackRoute", "FanOut", "FlowRoute", "Route", "Shape", "StreamRoute"]

Shape = Callable[[Namespace, Token], Any]
"""Makes the part that a stream yields for a token, such as ``(namespace, token)`` or a dict."""


class Route:
    """A route that delivers nothing, and the base class of those that deliver.

    Attributes:
        wanted: Whether the messages are used. If not, they need not be made.
    """

    __slots__ = ()

    wanted = False

    def send(self, message: BaseMessage) -> None:
        """Deliver a message or a chunk of one."""

    def send_text(self, text: str) -> bool:
        """Deliver a text delta that follows a chunk of plain text of the same message.

        Returns False when the caller must send a chunk instead.
        """
        return False

    def has_room(self, messages: int) -> bool:
        """Whether this many messages may be sent without a wait after them."""
        return True

    @property
    def available(self) -> int:
        """How many messages may be sent before the next wait; at least one."""
        return sys.maxsize

    def record(self, messages: int) -> bool:
        """Count messages that were just sent, and return whether to wait before the next ones."""
        return False

    async def wait(self) -> None:
        """Wait while a reader is behind. Raises ReaderLeft if it has left."""

    def wait_sync(self) -> None:
        """Like ``wait``, but blocks this thread."""

    def count_with(self, received: Received) -> None:
        """Use these counts in errors of this call."""

    def mark_seen(self, message_id: str) -> None:
        """Note that this message was streamed, so that it is not repeated if a node returns it."""


class CallbackRoute(Route):
    """A route to a function that takes every message and never makes the call wait."""

    __slots__ = ("_callback", "_seen")

    wanted = True

    def __init__(
        self, callback: Callable[[BaseMessage], None], seen: set[Any] | None = None
    ) -> None:
        self._callback = callback
        self._seen = seen

    def send(self, message: BaseMessage) -> None:
        self._callback(message)

    def mark_seen(self, message_id: str) -> None:
        if self._seen is not None:
            self._seen.add(message_id)


class FlowRoute(Route):
    """A route that only slows the call down; its messages reach the stream another way."""

    __slots__ = ("_call", "_flow")

    def __init__(self, flow: FlowControl, call: Call | None) -> None:
        self._flow = flow
        self._call = call

    def has_room(self, messages: int) -> bool:
        return self._flow.has_room(messages)

    @property
    def available(self) -> int:
        return self._flow.available

    def record(self, messages: int) -> bool:
        return self._flow.record(messages)

    async def wait(self) -> None:
        await self._flow.wait()

    def wait_sync(self) -> None:
        self._flow.wait_sync()

    def count_with(self, received: Received) -> None:
        if self._call is not None:
            self._call.received = received


class StreamRoute(FlowRoute):
    """A route into the channel of one stream.

    Args:
        flow: The flow control of the stream.
        call: The call; None for a node, which can send messages too.
        namespace: The namespace of the graph that makes the call.
        metadata: The metadata of the call.
        shape: Makes the parts of the stream; None if the tokens are the parts.
        only: Which messages pass.
        by_message: Ask ``only`` for each message instead of first for the whole call.
        seen: The ids of messages that were streamed.
    """

    __slots__ = (
        "_channel",
        "_metadata",
        "_namespace",
        "_only",
        "_seen",
        "_shape",
        "_shown",
        "_write",
        "wanted",
    )

    def __init__(
        self,
        flow: FlowControl,
        call: Call | None,
        namespace: Namespace,
        metadata: Metadata,
        *,
        shape: Shape | None,
        only: RunFilter | None,
        by_message: bool,
        seen: set[Any],
    ) -> None:
        super().__init__(flow, call)
        self._namespace = namespace
        self._metadata = metadata if call is None else CallMetadata(metadata)
        self._shape = shape
        self._seen = seen
        self._channel = flow.channel
        self._write: Callable[[str], bool] | None = None
        self._shown: dict[str | None, None] = {}  # the ids of messages that were sent, in order
        decided = True if only is None else None if by_message else only.decide(metadata)
        self.wanted = decided is not False
        self._only: RunFilter | Filter | None = None
        if only is not None and decided is None:
            self._only = only if by_message else only.filter

    def has_room(self, messages: int) -> bool:
        return self._channel.has_room(messages)

    def send(self, message: BaseMessage) -> None:
        if not self.wanted:
            return
        metadata = self._metadata
        if self._only is not None and not self._only(metadata, message):
            return
        self._shown[message.id] = None
        token = (message, metadata)
        self._channel.send_nowait(
            token if self._shape is None else self._shape(self._namespace, token)
        )

    def retract(self) -> None:
        """Tell the reader that the messages sent so far are void.

        If the reader has left, this does nothing and raises nothing: it is called in a callback
        that starts the next attempt, and that attempt stops at its first message.
        """
        for message_id in self._shown:
            if message_id is None:
                continue
            self._seen.discard(message_id)
            token = (RemoveMessage(id=message_id), self._metadata)
            with suppress(ReaderLeft):
                self._channel.send_nowait(
                    token if self._shape is None else self._shape(self._namespace, token)
                )
        self._shown.clear()

    def send_text(self, text: str) -> bool:
        return self._write is not None and self._write(text)

    def write_texts(self, message_id: str) -> None:
        """From now on send this message's texts without chunks, if the reader accepts that."""
        if self.wanted and self._only is None:
            self._write = self._channel.text_writer(self._namespace, self._metadata, message_id)

    def mark_seen(self, message_id: str) -> None:
        self._seen.add(message_id)


class FanOut(Route):
    """Several routes of one call, which exist when its node streams another graph."""

    __slots__ = ("_routes", "_senders", "wanted")

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes
        self._senders = [route.send for route in routes if route.wanted]
        self.wanted = bool(self._senders)

    def send(self, message: BaseMessage) -> None:
        for send in self._senders:
            send(message)

    def has_room(self, messages: int) -> bool:
        return all(route.has_room(messages) for route in self._routes)

    @property
    def available(self) -> int:
        return min(route.available for route in self._routes)

    def record(self, messages: int) -> bool:
        return any([route.record(messages) for route in self._routes])  # noqa: C419 - each counts

    async def wait(self) -> None:
        for route in self._routes:
            await route.wait()

    def wait_sync(self) -> None:
        for route in self._routes:
            route.wait_sync()

    def count_with(self, received: Received) -> None:
        for route in self._routes:
            route.count_with(received)

    def mark_seen(self, message_id: str) -> None:
        for route in self._routes:
            route.mark_seen(message_id)
