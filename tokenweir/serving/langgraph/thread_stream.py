"""A thread's stream in LangGraph's API: the streams of its runs, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from starlette.requests import Request
from starlette.routing import BaseRoute

from tokenweir.serving.event_protocol.numbers import end_of, event_of, seq, turn_of
from tokenweir.serving.event_protocol.reader import ThreadParts
from tokenweir.serving.http.endpoints import Operation, routes_of
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.langgraph.frames import Frames, wire_names
from tokenweir.serving.langgraph.schema.runs import LastEventId
from tokenweir.serving.langgraph.schema.threads import ThreadStreamQuery
from tokenweir.serving.log.events import END, Event
from tokenweir.serving.problems import InvalidError
from tokenweir.serving.running.encoding import encode
from tokenweir.serving.running.records import Run
from tokenweir.serving.service import Service

__all__ = ["routes"]

_MODES = ("run_modes", "lifecycle", "state_update")


def routes(service: Service) -> list[BaseRoute]:
    """The routes of threads' streams."""
    return routes_of(_Handlers(service), "Threads")


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    @Operation("GET", "/threads/{thread_id}/stream", refuses=(404, 422))
    async def stream(
        self, request: Request, query: ThreadStreamQuery, headers: LastEventId
    ) -> EventStream:
        """Stream a thread's runs, one after another, without end.

        It starts now, or after `Last-Event-ID`. The events are those of the runs' own streams; an
        event `metadata` with the status `run_done` marks the end of a run.
        """
        modes = [name for part in query.stream_mode for name in part.split(",")]
        if not set(modes) <= set(_MODES):
            raise InvalidError(f"stream_mode is any of {', '.join(_MODES)}; got {modes}")
        thread_id, owner = request.path_params["thread_id"], self._service.owner(request)
        if headers.last_event_id is None:
            since = await self._now(thread_id, owner)
        else:
            await self._service.runs.thread(thread_id, owner)
            since = max(0, int(headers.last_event_id))

        async def begin(run: Run) -> tuple[_ThreadFrames, list[bytes], int]:
            return _ThreadFrames(run, modes, since), [], 0

        parts = ThreadParts(self._service.runs, thread_id, owner, turn_of(since) - 1, begin)
        return EventStream(parts, self._service.limits)

    async def _now(self, thread_id: str, owner: str) -> int:
        """The number of the last event so far."""
        latest = await self._service.runs.store.latest(thread_id, owner)
        if latest is None:
            return 0
        if latest.final:
            return end_of(latest.turn)
        return seq(latest.turn, await self._service.runs.log.last_id(latest.id), 0)


class _ThreadFrames:
    """Writes the events of one run with their numbers in its thread."""

    def __init__(self, run: Run, modes: Sequence[str], since: int) -> None:
        asked = run.request.asked or wire_names(run.request.modes)
        wanted = set(asked) if "run_modes" in modes else set[str]()
        if "state_update" in modes:
            wanted |= {"values", "updates"}
        self._run = run
        self._after = event_of(since) if turn_of(since) == run.turn else 0
        self._frames = Frames(wanted, self._after, partial(seq, run.turn, part=0))

    def encode(self, events: list[Event]) -> list[bytes]:
        """The documents to send for these events."""
        part, last = self._frames.encode(events), events[-1]
        if last.kind == END and last.id > self._after:
            over = encode({"status": "run_done", "run_id": self._run.id})
            number = seq(self._run.turn, last.id, 0)
            part += b"event: metadata\ndata: %s\nid: %d\n\n" % (over, number)
        return [part] if part else []
