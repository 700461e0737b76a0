"""Waiting for a model within limits: the shells around ``patience.py``, async and sync.

A provider's stream is opened, read under the limit that runs, and opened again where that is
allowed. Only the wait for the provider counts: while the reader is slow, no limit runs.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tokenweir.models._calls.deadlines import Alarm, Deadline
from tokenweir.models._calls.timeouts import Progress
from tokenweir.streaming.backpressure import current_gate
from tokenweir.streaming.channel import ReaderLeft

__all__ = [
    "AsyncPatientStream",
    "Border",
    "Failure",
    "PatientStream",
    "patiently",
    "patiently_sync",
]


@dataclass(frozen=True)
class Failure:
    """What a client's error means: what to raise for it, and whether trying again may help."""

    error: BaseException
    passing: bool
    retry_after: float | None = None


@dataclass(frozen=True)
class Border:
    """How a client's events and errors are read.

    Attributes:
        look: Of an event: its characters (0 for a tool call, None if it is empty), and whether
            it says that the answer is over. One that stands for several says so as ``chunks``.
        understand: Of an error.
        call_at_done: Of a stream just opened: has a function called when the provider says that it
            is done, where no event says so.
    """

    look: Callable[[Any], tuple[int | None, bool]]
    understand: Callable[[BaseException, Progress], Failure]
    call_at_done: Callable[[Any, Callable[[], object]], None] = lambda stream, done: None


async def patiently(call: Callable[[], Awaitable[Any]], progress: Progress, border: Border) -> Any:
    """The result of ``call``, tried again as ``progress`` allows."""
    while True:
        try:
            return await call()
        except Exception as error:  # noqa: BLE001 - it is raised, or passes
            failure = border.understand(error, progress)
            if not failure.passing or not progress.may_retry():
                _raise(failure.error, error)
            await asyncio.sleep(_wait(progress, failure))


def patiently_sync(call: Callable[[], Any], progress: Progress, border: Border) -> Any:
    """As ``patiently``, blocking; a reader that leaves ends the wait for a retry."""
    while True:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - it is raised, or passes
            failure = border.understand(error, progress)
            if not failure.passing or not progress.may_retry():
                _raise(failure.error, error)
            _sleep(_wait(progress, failure))


def _raise(error: BaseException, cause: BaseException) -> None:
    if error is cause:
        raise error
    raise error from cause


def _wait(progress: Progress, failure: Failure) -> float:
    return progress.patience.wait(progress.attempt - 1, failure.retry_after)


def _sleep(seconds: float) -> None:
    gate = current_gate.get()
    if gate is None:
        time.sleep(seconds)
        return
    left = threading.Event()
    gate.sink.on_leave(left, left.set)
    try:
        if left.wait(seconds):
            raise ReaderLeft("the reader of this stream has gone")
    finally:
        gate.sink.done(left)


class _Openings:
    """The events before the first token, which hold nothing: each is handed on once, not again
    when the stream was opened again.
    """

    def __init__(self) -> None:
        self._came = 0
        self._handed_on = 0

    def begin(self) -> None:
        """A stream begins."""
        self._came = 0

    def had(self) -> bool:
        """Whether the reader has had the next one from a stream before this."""
        self._came += 1
        if self._came <= self._handed_on:
            return True
        self._handed_on = self._came
        return False


class AsyncPatientStream:
    """A provider's stream of events, within limits. Made by ``opened``."""

    def __init__(
        self, open: Callable[[], Awaitable[Any]], progress: Progress, border: Border
    ) -> None:
        self._open = open
        self._progress = progress
        self._border = border
        self._deadline = Deadline(progress.patience.gap)
        self._inner: Any = None
        self._events: Any = None
        self._openings = _Openings()
        self._take: Callable[[Any], bool] | None = None
        self._late = 0.0
        """Seconds by which events may come after the provider sent them; no fault of its."""

    @classmethod
    async def opened(
        cls, open: Callable[[], Awaitable[Any]], progress: Progress, border: Border
    ) -> Any:
        """Open a stream; what is no stream (a raw response) is given as it is."""
        made = cls(open, progress, border)
        await made._connect()
        return made if made._events is not None else made._inner

    async def _connect(self) -> None:
        async def connect() -> Any:
            return await self._within(self._open())

        self._inner = await patiently(connect, self._progress, self._border)
        self._openings.begin()
        if hasattr(self._inner, "__aiter__"):
            self._border.call_at_done(self._inner, self._progress.done)
            self._events = aiter(self._inner)
            self._late = getattr(self._inner, "late", 0.0)
            self._push()

    def push(self, take: Callable[[Any], bool]) -> None:
        """Have ``take`` called with events as they arrive, where the client's stream can do that.

        It says whether it has taken an event; those that it has not, and all that are more than
        pieces of an answer, come by iteration, in their place. Events that can be pushed say their
        ``chunks`` and ``characters``.
        """
        self._take = take
        self._push()

    def _push(self) -> None:
        push = getattr(self._inner, "push", None)
        if self._take is not None and push is not None:
            push(self._took)

    def _took(self, event: Any) -> bool:
        progress = self._progress
        if not progress.chunks or self._take is None or not self._take(event):
            return False
        progress.took(event.characters, False, event.chunks)
        self._deadline.extend(progress.limit + self._late)
        return True

    async def _within(self, waited: Awaitable[Any]) -> Any:
        deadline = self._deadline
        deadline.start(self._progress.limit + self._late)
        try:
            return await waited
        except asyncio.CancelledError:
            if deadline.is_over():
                raise self._progress.expired() from None
            raise
        finally:
            deadline.stop()

    def __aiter__(self) -> AsyncPatientStream:
        return self

    async def __anext__(self) -> Any:
        progress = self._progress
        while True:
            try:
                event = await self._within(self._events.__anext__())
            except StopAsyncIteration:
                self._deadline.cancel()
                if progress.ended:
                    raise
                await self._again(progress.cut_short())
                continue
            except Exception as error:  # noqa: BLE001 - it is raised, or passes
                await self._again(error)
                continue
            characters, ended = self._border.look(event)
            progress.took(characters, ended, getattr(event, "chunks", 1))
            if not progress.chunks and not ended and self._openings.had():
                continue
            return event

    async def _again(self, error: Exception) -> None:
        """Open the stream again, if that is allowed; else raise."""
        await self._shut()
        failure = self._border.understand(error, self._progress)
        if not failure.passing or not self._progress.may_retry():
            self._deadline.cancel()
            _raise(failure.error, error)
        await asyncio.sleep(_wait(self._progress, failure))
        await self._connect()

    async def _shut(self) -> None:
        close = getattr(self._inner, "aclose", None) or getattr(self._inner, "close", None)
        if close is not None:
            await close()

    async def aclose(self) -> None:
        """Close the provider's stream."""
        self._deadline.cancel()
        await self._shut()

    close = aclose

    async def __aenter__(self) -> AsyncPatientStream:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class PatientStream:
    """As ``AsyncPatientStream``, for sync clients.

    Until the response begins, the HTTP client's own timeout stands for the limit; then a watchdog
    shuts the socket down.
    """

    def __init__(self, open: Callable[[], Any], progress: Progress, border: Border) -> None:
        self._open = open
        self._progress = progress
        self._border = border
        self._alarm = Alarm(self._abort)
        self._inner: Any = None
        self._events: Any = None
        self._openings = _Openings()

    @classmethod
    def opened(cls, open: Callable[[], Any], progress: Progress, border: Border) -> Any:
        """Open a stream; what is no stream (a raw response) is given as it is."""
        made = cls(open, progress, border)
        made._connect()
        return made if made._events is not None else made._inner

    def _connect(self) -> None:
        self._inner = patiently_sync(self._open, self._progress, self._border)
        self._openings.begin()
        if hasattr(self._inner, "__iter__"):
            self._border.call_at_done(self._inner, self._progress.done)
            self._events = iter(self._inner)
            # From here on the watchdog waits, by tokens; the client would wait by bytes.
            timeouts = self._inner.response.request.extensions.get("timeout")
            if timeouts:
                timeouts["read"] = None

    def _abort(self) -> None:
        stream = self._inner.response.extensions.get("network_stream")
        raw = stream.get_extra_info("socket") if stream is not None else None
        if raw is not None:
            with suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)

    def __iter__(self) -> PatientStream:
        return self

    def __next__(self) -> Any:
        progress = self._progress
        while True:
            self._alarm.start(progress.limit)
            try:
                event = next(self._events)
            except StopIteration:
                if self._alarm.stop():
                    self._again(progress.expired())
                elif progress.ended:
                    raise
                else:
                    self._again(progress.cut_short())
                continue
            except Exception as error:  # noqa: BLE001 - it is raised, or passes
                self._again(progress.expired() if self._alarm.stop() else error)
                continue
            finally:
                self._alarm.stop()
            characters, ended = self._border.look(event)
            progress.took(characters, ended, getattr(event, "chunks", 1))
            if not progress.chunks and not ended and self._openings.had():
                continue
            return event

    def _again(self, error: Exception) -> None:
        self._inner.close()
        failure = self._border.understand(error, self._progress)
        if not failure.passing or not self._progress.may_retry():
            _raise(failure.error, error)
        _sleep(_wait(self._progress, failure))
        self._connect()

    def close(self) -> None:
        """Close the provider's stream."""
        self._alarm.ring = None  # the watchdog may keep the alarm until its time has come
        self._inner.close()

    def __enter__(self) -> PatientStream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
