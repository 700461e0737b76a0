"""Retractions in a stream whose parts pass through a queue.

A message may become void while its chunks still wait in the queue. So the retraction is sent before
the next part, and later chunks of the message are dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from langchain_core.messages import BaseMessage, RemoveMessage

from tokenweir.types import Namespace

__all__ = ["Opened", "Retractions"]

Opened: TypeAlias = tuple[Namespace, str | None, Any]
"""The namespace, mode and payload of a part."""

_Key: TypeAlias = tuple[str, str]
"""The place of the task that has shown a message, and the message's id."""


class Retractions:
    """Tracks which messages of a stream were shown, and which are void.

    ``void`` may be called from any thread, the other methods only where parts leave the queue.

    Args:
        shape: Makes the part for a retraction; None if the token itself is the part.
    """

    def __init__(self, shape: Callable[[Namespace, Any], Any] | None) -> None:
        self._shape = shape
        self._shown: dict[_Key, tuple[Namespace, Any]] = {}
        self._void: set[_Key] = set()
        self._news: deque[_Key] = deque()

    def void(self, place: str, message_id: str) -> None:
        """Note that a message shown from this place (``langgraph_checkpoint_ns``) is void."""
        self._void.add((place, message_id))
        self._news.append((place, message_id))

    def due(self) -> Iterator[Any]:
        """The parts that retract messages which were shown and have become void."""
        while self._news:
            key = self._news.popleft()
            if (shown := self._shown.pop(key, None)) is not None:
                namespace, metadata = shown
                token = (RemoveMessage(id=key[1]), metadata)
                yield token if self._shape is None else self._shape(namespace, token)

    def takes(self, opened: Opened) -> bool:
        """Whether to show a part; if so, it counts as shown."""
        namespace, mode, payload = opened
        if mode != "messages" or not isinstance(payload, (tuple, list)) or len(payload) != 2:
            return True
        message, metadata = payload
        if not isinstance(message, BaseMessage) or message.id is None:
            return True
        key = (metadata.get("langgraph_checkpoint_ns", ""), message.id)
        if key in self._void:
            return False
        self._shown.setdefault(key, (namespace, metadata))
        return True
