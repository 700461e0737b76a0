"""Streams of a provider's events within limits, async and sync.

A stream is opened, read within the limit that applies, and reopened if ``state.py`` allows it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from tokenweir.models._calls.deadlines import Alarm, Deadline
from tokenweir.models._calls.retries import sleep_sync, with_retries, with_retries_sync
from tokenweir.models._calls.state import CallState, ClientAdapter

__all__ = ["AsyncRetryingStream", "RetryingStream"]


class _Stream:
    """The common part of both streams."""

    def __init__(self, open: Callable[[], Any], state: CallState, adapter: ClientAdapter) -> None:
        self._open = open
        self._state = state
        self._adapter = adapter
        self._inner: Any = None
        self._events: Any = None

    def _opened(self, iterate: Callable[[Any], Any]) -> None:
        """Start reading the stream that was just opened."""
        self._state.begin_attempt()
        self._adapter.call_when_done(self._inner, self._state.end)
        self._events = iterate(self._inner)

    def _hands_on(self, event: Any) -> bool:
        """Count an event; return False if an earlier attempt has already delivered it."""
        characters, ended = self._adapter.inspect(event)
        self._state.record(characters, ended)
        return bool(self._state.received.tokens or ended or not self._state.repeats_opening())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class AsyncRetryingStream(_Stream):
    """A provider's async stream of events, within limits. Made by ``opened``."""

    def __init__(
        self, open: Callable[[], Awaitable[Any]], state: CallState, adapter: ClientAdapter
    ) -> None:
        super().__init__(open, state, adapter)
        self._deadline = Deadline(state)

    @classmethod
    async def opened(
        cls, open: Callable[[], Awaitable[Any]], state: CallState, adapter: ClientAdapter
    ) -> Any:
        """Open a stream; what is no stream (a raw response) is returned as it is."""
        made = cls(open, state, adapter)
        await made._connect()
        return made if made._events is not None else made._inner

    async def _connect(self) -> None:
        async def connect() -> Any:
            self._deadline.restart()
            return await self._deadline.wait_for(self._open())

        self._inner = await with_retries(connect, self._state, self._adapter.classify_error)
        if hasattr(self._inner, "__aiter__"):
            self._opened(aiter)

    def __aiter__(self) -> AsyncRetryingStream:
        return self

    async def __anext__(self) -> Any:
        while True:
            try:
                event = await self._deadline.wait_for(self._events.__anext__())
            except StopAsyncIteration:
                self._deadline.cancel()
                if self._state.ended:
                    raise
                await self._reopen(self._state.cut_short_error())
            except Exception as error:  # noqa: BLE001 - raised by _reopen unless it is transient
                await self._reopen(error)
            else:
                tokens = self._state.received.tokens
                hands_on = self._hands_on(event)
                if self._state.received.tokens > tokens:
                    self._deadline.restart()
                if hands_on:
                    return event

    async def _reopen(self, error: Exception) -> None:
        """Reopen the stream if that is allowed; otherwise raise."""
        await self._close_inner()
        self._deadline.cancel()
        delay = self._state.retry_delay(error, self._adapter.classify_error)
        await asyncio.sleep(delay)
        await self._connect()

    async def _close_inner(self) -> None:
        close = getattr(self._inner, "aclose", None) or getattr(self._inner, "close", None)
        if close is not None:
            await close()

    async def aclose(self) -> None:
        """Close the provider's stream."""
        self._deadline.cancel()
        await self._close_inner()

    close = aclose

    async def __aenter__(self) -> AsyncRetryingStream:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


class RetryingStream(_Stream):
    """Like ``AsyncRetryingStream``, for sync clients.

    Until the response begins, the HTTP client's own timeout enforces the limit. After that, a
    watchdog shuts the socket down if a token does not arrive in time.
    """

    def __init__(self, open: Callable[[], Any], state: CallState, adapter: ClientAdapter) -> None:
        super().__init__(open, state, adapter)
        self._alarm = Alarm(state, self._abort)

    @classmethod
    def opened(cls, open: Callable[[], Any], state: CallState, adapter: ClientAdapter) -> Any:
        """Open a stream; what is no stream (a raw response) is returned as it is."""
        made = cls(open, state, adapter)
        made._connect()
        return made if made._events is not None else made._inner

    def _connect(self) -> None:
        self._inner = with_retries_sync(self._open, self._state, self._adapter.classify_error)
        if hasattr(self._inner, "__iter__"):
            self._opened(iter)
            # From here on the watchdog limits the wait for tokens; the client's timeout is by read.
            timeouts = self._inner.response.request.extensions.get("timeout")
            if timeouts:
                timeouts["read"] = None

    def _abort(self) -> None:
        stream = self._inner.response.extensions.get("network_stream")
        raw = stream.get_extra_info("socket") if stream is not None else None
        if raw is not None:
            with suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)

    def __iter__(self) -> RetryingStream:
        return self

    def __next__(self) -> Any:
        while True:
            try:
                with self._alarm:
                    event = next(self._events)
            except StopIteration:
                if self._state.ended:
                    raise
                self._reopen(self._state.cut_short_error())
            except Exception as error:  # noqa: BLE001 - raised by _reopen unless it is transient
                self._reopen(error)
            else:
                tokens = self._state.received.tokens
                hands_on = self._hands_on(event)
                if self._state.received.tokens > tokens:
                    self._alarm.restart()
                if hands_on:
                    return event

    def _reopen(self, error: Exception) -> None:
        self._inner.close()
        sleep_sync(self._state.retry_delay(error, self._adapter.classify_error))
        self._alarm.restart()
        self._connect()

    def close(self) -> None:
        """Close the provider's stream."""
        self._alarm.let_go()
        self._inner.close()

    def __enter__(self) -> RetryingStream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
