"""Runs of chats: one at a time per thread, and stopped when no client reads them any more.

A page that stops the answer and a page that is reloaded look the same: both close their connection.
The run therefore continues for a moment, in which a reloaded page can reconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, Protocol

from msgspec import Struct

from tokenweir.serving.ends import Ends
from tokenweir.serving.fields import Only, said
from tokenweir.serving.http.event_parts import EventParts
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.log.events import END, Event, EventReader
from tokenweir.serving.problems import NotFoundError, TooBusyError
from tokenweir.serving.running.records import Run, RunRequest, Thread
from tokenweir.serving.service import Service

__all__ = ["ChatQuery", "ChatRuns"]

_GRACE = 5.0
"""Seconds in which a reloaded page must reconnect."""


class ChatQuery(Struct, kw_only=True):
    """How one reader reads a run."""

    only: Only = None
    on_disconnect: Annotated[
        Literal["continue", "cancel"] | None,
        said("What happens to the run if the connection ends. Null: it is stopped after a while."),
    ] = None


class _Frames(Protocol):
    """Writes the events of one run for one reader."""

    @property
    def encode(self) -> Callable[[list[Event]], bytes]:
        """What writes the events."""
        ...

    def begin(self) -> bytes:
        """What to write before all events."""
        ...


class ChatRuns:
    """The runs of one protocol, and their readers at this server.

    Args:
        service: The server.
        protocol: The protocol's name, for the metadata of its runs.

    Attributes:
        ends: The runs' ends that readers were sent.
    """

    def __init__(self, service: Service, protocol: str) -> None:
        self._service = service
        self._protocol = protocol
        self._reader_counts: dict[str, int] = {}
        self.ends = Ends()

    async def take_over(self, thread_id: str, owner: str) -> Thread | None:
        """Stop the runs on a thread that a client wants to continue, and return the thread.

        The state of the thread then has what the client was shown. None if there is no thread.
        """
        runs = self._service.runs
        for run in await runs.store.unfinished(owner, thread_id=thread_id):
            with contextlib.suppress(NotFoundError):  # it has ended in the meantime
                await runs.cancel(run.id, owner, wait=True)
        try:
            return await runs.thread(thread_id, owner)
        except NotFoundError:
            return None

    async def start(self, wanted: RunRequest, thread_id: str, owner: str) -> Run:
        """Start a run on a thread after ``take_over``."""
        return await self._service.runs.start(
            wanted,
            owner=owner,
            thread_id=thread_id,
            temporary=False,
            strategy="interrupt",
            metadata={"protocol": self._protocol},
        )

    async def newest(self, thread_id: str, owner: str, graph: str, *, limit: int) -> list[Run]:
        """The due runs of a graph among a thread's newest runs, newest first."""
        runs = await self._service.runs.store.runs_of(thread_id, owner, limit=limit)
        return [run for run in runs if run.request.graph == graph and not run.delay > 0]

    async def past(self, run: Run, frames: _Frames) -> bytes:
        """The whole output of a run that has ended."""
        events = self._service.runs.log.follow(run.id)
        return frames.begin() + b"".join([part async for part in EventParts(events, frames.encode)])

    def stream(
        self,
        run: Run,
        frames: _Frames,
        on_disconnect: str | None,
        *,
        begun: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> EventStream:
        """A response for one more reader of a run.

        Args:
            run: The run.
            frames: Writes its events.
            on_disconnect: What happens if the reader leaves before the end: ``cancel`` stops the
                run at once, ``continue`` does not; None stops it soon if no reader is left.
            begun: What to write first.
            headers: Additional headers of the response.
        """

        def encode(events: list[Event]) -> bytes:
            if events[-1].kind == END:
                self.ends.tell(run.id)
            return frames.encode(events)

        self._reader_counts[run.id] = self._reader_counts.get(run.id, 0) + 1
        self._service.runs.store.tell_of_reader(run.id)
        events = self._service.runs.log.follow(run.id)
        return EventStream(
            _Parts(events, encode, lambda: self._reader_gone(run)),
            self._service.limits,
            begun=begun + frames.begin(),
            headers=headers,
            on_leave=lambda: self._reader_left(run, on_disconnect),
        )

    # Inside

    def _reader_left(self, run: Run, asked: str | None) -> None:
        if asked == "cancel":
            self._service.runs.cancel_soon(run)
        elif asked != "continue":
            asyncio.get_running_loop().call_later(_GRACE, self._stop_if_unread, run)

    def _reader_gone(self, run: Run) -> None:
        self._reader_counts[run.id] -= 1
        if not self._reader_counts[run.id]:
            del self._reader_counts[run.id]

    def _stop_if_unread(self, run: Run) -> None:
        if run.id in self._reader_counts or self.ends.was_told(run.id):
            return
        # If a reader reconnected to another server, that server checks again when it leaves.
        if not self._service.runs.store.read_elsewhere(run.id, _GRACE):
            with contextlib.suppress(TooBusyError):  # the server has stopped in the meantime
                self._service.runs.cancel_soon(run)


class _Parts(EventParts):
    def __init__(
        self,
        events: EventReader,
        encode: Callable[[list[Event]], bytes],
        on_close: Callable[[], None],
    ) -> None:
        super().__init__(events, encode)
        self._on_close: Callable[[], None] | None = on_close

    async def aclose(self) -> None:
        if (closed := self._on_close) is not None:
            self._on_close = None
            closed()
        await super().aclose()
