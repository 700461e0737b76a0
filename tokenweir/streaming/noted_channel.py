"""The reader's side of a channel that notes what the reader receives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenweir.streaming.channel import ReceiveChannel

__all__ = ["NotedChannel"]


class NotedChannel(ReceiveChannel[Any]):
    """A ``ReceiveChannel`` that calls ``note`` with each item that the reader receives."""

    __slots__ = ("_note",)

    def __init__(self, shared: Any, note: Callable[[Any], None]) -> None:
        super().__init__(shared)
        self._note = note

    def receive_nowait(self) -> Any:
        item = super().receive_nowait()
        self._note(item)
        return item
