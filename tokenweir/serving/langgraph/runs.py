"""Runs in LangGraph's API: stream, create, wait, join, list, get, cancel, delete.

``requests.py`` reads the bodies of requests.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tokenweir.serving.http.endpoints import JSON, Operation, routes_of
from tokenweir.serving.http.event_parts import EventParts
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.langgraph.frames import Frames, wire_modes, wire_names
from tokenweir.serving.langgraph.requests import Asked, asked_of
from tokenweir.serving.langgraph.schema import runs as schema
from tokenweir.serving.problems import InvalidError, NotFoundError
from tokenweir.serving.running.encoding import encode
from tokenweir.serving.running.records import Run
from tokenweir.serving.running.runs import Runs
from tokenweir.serving.service import Service

__all__ = ["routes"]

_HEARTBEAT = b": heartbeat\n"
"""Without an empty line, which the npm client 2.0.0 would take for an event."""

_IN_PATHS = "!$&'()*+,;=:@~"
"""Characters that need no escape in a path segment, besides letters, digits and ``-._``."""


_PLACES = {
    "Location": "The path at which to continue reading the run.",
    "Content-Location": "The path of the run.",
}
_ALONE, _ON_THREAD, _ONE = (
    "/runs",
    "/threads/{thread_id}/runs",
    "/threads/{thread_id}/runs/{run_id}",
)
_EXAMPLE = {
    "assistant_id": "joke_poem",
    "input": {"topic": "cats"},
    "stream_mode": "messages-tuple",
}
_starts = partial(Operation, "POST", sets=_PLACES, example=_EXAMPLE)
_alone = partial(_starts, refuses=(409, 422, 429, 503))
_on_thread = partial(_starts, refuses=(404, 409, 422, 429, 503))


def routes(service: Service) -> list[BaseRoute]:
    """The routes of runs."""
    return routes_of(_Handlers(service), "Runs")


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def _runs(self) -> Runs:
        return self._service.runs

    @_alone("/runs/stream")
    @_on_thread(f"{_ON_THREAD}/stream")
    async def stream(self, request: Request, body: schema.RunCreate) -> EventStream:
        """Start a run and stream it.

        A run without a thread gets a temporary one, which is deleted when the run ends. The first
        event is `metadata`; then comes one per mode and part; `error` if the run fails. Events of
        subgraphs have `|` and the namespace added to their names.
        """
        asked = await self._asked(request, body)
        run = await self._start(request, asked)
        leave = self._on_leave(run, asked.leaves)
        return self._follow(run, Frames(run.request.asked), leave)

    @_alone("/runs/wait", gives=Any)
    @_on_thread(f"{_ON_THREAD}/wait", gives=Any)
    async def wait(self, request: Request, body: schema.RunCreate) -> EventStream:
        """Start a run and wait for its end: the last values, or `__error__`.

        A run without a thread gets a temporary one, which is deleted when the run ends. White space
        before the values keeps the connection alive.
        """
        asked = await self._asked(request, body, also="values")
        run = await self._start(request, asked)
        return self._values(run, self._on_leave(run, asked.leaves))

    @_alone("/runs", gives=schema.Run)
    @_on_thread(_ON_THREAD, gives=schema.Run)
    async def create(self, request: Request, body: schema.RunCreate) -> Response:
        """Start a run without waiting.

        A run without a thread gets a temporary one, which is deleted when the run ends.
        """
        run = await self._start(request, await self._asked(request, body))
        return Response(encode(_shown(run)), media_type=JSON, headers=_headers(run, "stream"))

    @Operation("POST", "/runs/batch", refuses=(422, 429, 503))
    async def create_several(
        self, request: Request, body: list[schema.RunCreate]
    ) -> list[schema.Run]:
        """Start several runs, each on its own thread, without waiting."""
        several = [await self._asked(request, each) for each in body]  # check all before starting
        runs = [await self._start(request, asked) for asked in several]
        return [_shown(run) for run in runs]

    @Operation("POST", "/runs/cancel")
    async def cancel_several(
        self, request: Request, query: schema.UndoQuery, body: schema.RunsAsked
    ) -> None:
        """Stop several runs."""
        owner, ids = self._service.owner(request), body.run_ids
        if ids is None and body.status is None:
            raise InvalidError("give run_ids, or a status: pending, running or all")
        status = None if body.status == "all" else body.status
        found = await self._runs.store.unfinished(
            owner, ids=ids, thread_id=body.thread_id, status=status
        )
        for run in found:
            with contextlib.suppress(NotFoundError):  # it has ended in the meantime
                await self._runs.cancel(run.id, owner, undo=query.action == "rollback")

    @Operation("GET", _ON_THREAD)
    async def list_runs(self, request: Request, query: schema.RunsQuery) -> list[schema.Run]:
        """List a thread's runs, newest first."""
        owner = self._service.owner(request)
        thread = await self._runs.thread(request.path_params["thread_id"], owner)
        found = await self._runs.store.runs_of(
            thread.id, owner, status=query.status, limit=query.most, offset=query.start
        )
        return [_shown(run) for run in found]

    @Operation("GET", _ONE)
    async def get(self, request: Request) -> schema.Run:
        """Read a run."""
        return _shown(await self._run(request))

    @Operation("DELETE", _ONE, refuses=(404, 409))
    async def delete(self, request: Request) -> None:
        """Delete a run that has ended, with its events."""
        run = await self._run(request)
        await self._runs.forget(run.id, run.owner)

    @Operation("GET", f"{_ONE}/join", gives=Any, sets=_PLACES)
    async def join(self, request: Request, query: schema.JoinQuery) -> EventStream:
        """Wait for a run's end: the last values, or `__error__`."""
        run = await self._run(request)
        return self._values(run, self._on_leave(run, query.cancel_on_disconnect))

    @Operation("GET", f"{_ONE}/stream", sets=_PLACES, refuses=(422,))
    async def join_stream(
        self, request: Request, query: schema.StreamQuery, headers: schema.LastEventId
    ) -> EventStream:
        """Stream a run from its beginning, from after an id, or from now on.

        If there is no such run, the answer is an event `error`, with status 200.
        """
        try:
            run = await self._run(request)
        except NotFoundError as error:
            data = encode({"error": "HTTPException", "message": f"404: {error}"})
            return EventStream(_once(b"event: error\ndata: %s\n\n" % data), self._service.limits)
        names = [name for part in query.stream_mode for name in part.split(",") if name]
        modes = wire_modes(names) if names else run.request.asked or wire_names(run.request.modes)
        if headers.last_event_id is None:
            after = 1 << 62 if run.final else await self._runs.log.last_id(run.id)
        else:
            after = max(0, int(headers.last_event_id))
        leave = self._on_leave(run, query.cancel_on_disconnect)
        return self._follow(run, Frames(modes, after), leave)

    @Operation("POST", f"{_ONE}/cancel", also={202: "It is being stopped."})
    async def cancel(
        self, request: Request, query: schema.CancelQuery
    ) -> dict[str, Any] | Response:
        """Stop a run."""
        run = await self._run(request)
        undo = query.action == "rollback"
        await self._runs.cancel(run.id, run.owner, wait=query.wait, undo=undo)
        return {} if query.wait else Response(status_code=202)

    # Inside

    async def _start(self, request: Request, asked: Asked) -> Run:
        thread_id = request.path_params.get("thread_id")
        if thread_id is not None and not asked.makes_thread:
            await self._runs.thread(thread_id, self._service.owner(request))
        return await self._runs.start(
            asked.request,
            owner=self._service.owner(request),
            thread_id=thread_id,
            assistant_id=asked.assistant_id,
            strategy=asked.strategy,
            temporary=not asked.keeps if thread_id is None else False,
            metadata=asked.metadata,
            after_seconds=asked.after_seconds,
        )

    async def _asked(
        self, request: Request, body: schema.RunCreate, also: str | None = None
    ) -> Asked:
        try:
            assistant = await self._runs.assistant(body.assistant_id, self._service.owner(request))
        except NotFoundError as error:
            raise InvalidError(str(error)) from None
        return asked_of(body, assistant, also)

    async def _run(self, request: Request) -> Run:
        run = await self._runs.get(request.path_params["run_id"], self._service.owner(request))
        if run.thread_id != request.path_params["thread_id"]:
            raise NotFoundError(f"there is no run {run.id} on this thread")
        return run

    def _on_leave(self, run: Run, stops: bool) -> Callable[[], None] | None:
        return (lambda: self._runs.cancel_soon(run)) if stops else None

    def _follow(self, run: Run, frames: Frames, leave: Callable[[], None] | None) -> EventStream:
        events = self._runs.log.follow(run.id, frames.start)
        return EventStream(
            EventParts(events, frames.encode),
            self._service.limits,
            headers=_headers(run, "stream"),
            on_leave=leave,
            heartbeat=_HEARTBEAT,
        )

    def _values(self, run: Run, leave: Callable[[], None] | None) -> EventStream:
        """The final values; white space before them keeps proxies from timing out."""

        async def values() -> AsyncIterator[bytes]:
            ended, found = await self._runs.result(run.id, run.owner)
            yield encode({"__error__": ended.error} if ended.error is not None else found)

        headers = {**_headers(run, "join"), "content-type": "application/json"}
        return EventStream(
            values(), self._service.limits, headers=headers, on_leave=leave, heartbeat=b"\n"
        )


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _headers(run: Run, what: str) -> dict[str, str]:
    """Paths without a host: clients append them to the URL that they know."""
    place = f"/threads/{quote(run.thread_id, safe=_IN_PATHS)}/runs/{run.id}"
    return {
        "Content-Location": f"/runs/{run.id}" if run.temporary else place,
        "Location": f"{place}/{what}",
    }


def _shown(run: Run) -> schema.Run:
    request = run.request
    return schema.Run(
        run_id=run.id,
        thread_id=run.thread_id,
        assistant_id=run.assistant_id,
        created_at=run.created_at,
        updated_at=run.updated_at,
        status=run.status,
        metadata=run.metadata,
        multitask_strategy=run.strategy,
        kwargs={
            "input": request.input,
            "command": request.command,
            "config": request.config,
            "context": request.context,
            "stream_mode": request.modes,
            "subgraphs": request.subgraphs,
        },
    )
