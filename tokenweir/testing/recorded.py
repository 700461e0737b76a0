"""What a scripted provider records of a request and its answer."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from tokenweir.testing.openai_protocol import prompt_of

__all__ = ["RecordedRequest", "State"]

State = Literal["running", "finished", "cut", "client_left", "stopped"]


@dataclass(eq=False)
class RecordedRequest:
    """One request, and how its answer ended.

    Attributes:
        path: The path of the request, with its query.
        headers: The request's headers, by lower-case names.
        body: The request's JSON, or None.
        state: ``running``, ``finished``, ``cut`` (as scripted), ``client_left``, or ``stopped``
            when the provider was closed first.
        tokens_written: Tokens handed to the socket so far.
        connection: The number of its connection, from 0.
        asked_at: When it came, in seconds of the monotonic clock.
        ended_at: When its answer ended, or None.
    """

    path: str
    headers: dict[str, str]
    body: Any
    connection: int
    state: State = "running"
    tokens_written: int = 0
    asked_at: float = field(default_factory=time.monotonic)
    ended_at: float | None = None
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)
    _released: bool = field(default=False, repr=False)

    @property
    def prompt(self) -> str:
        """The text of the request's last message."""
        return prompt_of(self.body or {})

    def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until the answer has ended. Raises TimeoutError after ``timeout`` seconds."""
        if not self._ended.wait(timeout):
            raise TimeoutError(f"the request is still {self.state} after {timeout} s: {self!r}")

    async def aclosed(self, timeout: float | None = None) -> None:
        """Like ``wait_closed``, without blocking the event loop."""
        await asyncio.to_thread(self.wait_closed, timeout)

    def _end(self, state: State) -> None:
        if self.state == "running":
            self.state = state
            self.ended_at = time.monotonic()
            self._ended.set()
