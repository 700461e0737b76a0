"""Plain server-sent events: graphs for ``curl -N``, browsers' ``EventSource``, the client module.

- ``GET /graphs``, ``GET /graphs/{name}``: the graphs, and their inputs.
- ``GET /graphs/{name}/picture.svg`` and ``picture.mermaid``.
- ``GET /graphs/{name}/events?topic=cats&only=tag:joke`` starts a run and streams its events.
- ``POST /graphs/{name}/events`` does the same, with a JSON body.
- ``GET /runs/{id}/events`` follows a run from its beginning, or from after ``Last-Event-ID``.
- ``POST /runs/{id}/cancel`` stops a run.

An event's id names its run and its place there, ``RUN:7``. An ``EventSource`` that reconnects with
``Last-Event-ID`` to the address that started a run therefore continues with that run. Events are
named ``run`` (first on each connection), ``token``, ``node``, ``custom``, ``remove``, and, last,
``end`` or ``error``; their data are the records of ``tokenweir run --json``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from tokenweir.errors import FilterError
from tokenweir.graphs.picture import Kind, draw
from tokenweir.serving.graph_inputs import empty_input, from_text
from tokenweir.serving.http.bodies import parse
from tokenweir.serving.http.endpoints import Operation, routes_of
from tokenweir.serving.http.event_parts import EventParts
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.log.events import EventReader
from tokenweir.serving.problems import InvalidError, NotFoundError, ServingError
from tokenweir.serving.running.compaction import LateReader
from tokenweir.serving.running.records import Run, RunRequest
from tokenweir.serving.running.runs import Runs
from tokenweir.serving.service import Service
from tokenweir.serving.sse.frames import Frames
from tokenweir.serving.sse.schema import (
    Cancelled,
    EventsAsked,
    EventsQuery,
    FollowQuery,
    Graph,
    Graphs,
    LastEventId,
)
from tokenweir.streaming.run_filter import run_filter

__all__ = ["ForeignPageError", "routes"]

_TAG = "Plain server-sent events"
_RETRY = b"retry: 1000\n\n"
"""Milliseconds after which a browser reconnects; it is short, as the run continues meanwhile."""

_MODES = ["messages", "custom", "tasks"]


class ForeignPageError(ServingError):
    """Raised for requests of other sites' pages that CORS lets through without a preflight."""

    status = 403


_PLACE = {"Content-Location": "The path of the run."}
_OVER = {204: "The run has ended and all of it was read: `EventSource` stops reconnecting."}
_streams = partial(Operation, sets=_PLACE, also=_OVER)


def routes(service: Service) -> list[BaseRoute]:
    """The routes of this protocol."""
    return routes_of(_Protocol(service), _TAG)


class _Protocol:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._pictures: dict[tuple[str, Kind], str | bytes] = {}

    @property
    def _runs(self) -> Runs:
        return self._service.runs

    # Graphs

    @Operation("GET", "/graphs")
    async def graphs(self, request: Request) -> Graphs:
        """List the graphs and their inputs."""
        found = await asyncio.to_thread(lambda: [self._described(name) for name in self._names()])
        return Graphs(graphs=found)

    @Operation("GET", "/graphs/{name}")
    async def graph(self, request: Request) -> Graph:
        """Read a graph's input keys."""
        return await asyncio.to_thread(self._described, self._service.graph_of(request))

    @Operation("GET", "/graphs/{name}/picture.svg", gives=str, kinds=["image/svg+xml"])
    async def svg(self, request: Request) -> Response:
        """Draw a graph as SVG."""
        picture = await self._picture(request, "svg")
        return Response(picture, media_type="image/svg+xml")

    @Operation("GET", "/graphs/{name}/picture.mermaid", gives=str, kinds=["text/plain"])
    async def mermaid(self, request: Request) -> Response:
        """Draw a graph as Mermaid text."""
        return PlainTextResponse(await self._picture(request, "mermaid"))

    async def _picture(self, request: Request, kind: Kind) -> str | bytes:
        name = self._service.graph_of(request)
        if (name, kind) not in self._pictures:
            # Drawing a large graph takes long, so it must not block the event loop.
            drawn = await asyncio.to_thread(draw, self._runs.graphs[name], kind)
            self._pictures[name, kind] = drawn
        return self._pictures[name, kind]

    def _names(self) -> list[str]:
        return list(self._runs.graphs)

    def _described(self, name: str) -> Graph:
        path = f"/graphs/{quote(name, safe='')}"
        return Graph(
            name=name,
            input=self._service.find_input_keys(name),
            picture=f"{path}/picture.svg",
            events=f"{path}/events",
        )

    # Runs

    @_streams("GET", "/graphs/{name}/events", refuses=(404, 422, 503))
    async def start(
        self, request: Request, query: EventsQuery, headers: LastEventId
    ) -> EventStream | Response:
        """Start a run and stream it, or continue the one that `Last-Event-ID` names.

        The events are `run`, then `token`, `node`, `custom`, `remove`, and last `end` or `error`.
        Their ids name the run and the place in it.
        """
        return await self.run(request, query, headers, EventsAsked())

    @_streams(
        "POST",
        "/graphs/{name}/events",
        refuses=(404, 422, 503),
        example={"input": {"topic": "cats"}, "only": "tag:joke"},
    )
    async def run(
        self, request: Request, query: EventsQuery, headers: LastEventId, body: EventsAsked
    ) -> EventStream | Response:
        """Start a run and stream it, or continue the one that `Last-Event-ID` names.

        The URL overrides the body.
        """
        name = self._service.graph_of(request)
        if request.method == "HEAD":  # HEAD starts no run
            return Response(media_type="text/event-stream")
        if known := _position(headers):
            run = await self._known(request, known.run, name)
            return await self._stream(request, run, query, known)
        owner = self._service.owner(request)
        _own_page(request, owner)
        given = parse(query.input, "input") if query.input else body.input
        if query.input_keys:
            if not isinstance(given or {}, dict):
                raise InvalidError("input keys in the URL need an input that is an object")
            keys = await self._service.input_keys(name)
            given = {**(given or {}), **from_text(name, keys, query.input_keys)}
        thread = body.thread_id if query.thread_id is None else query.thread_id
        if given is None and body.command is None and thread is None:
            keys = await self._service.input_keys(name)
            if keys:
                given = empty_input(name, keys)
        wanted = RunRequest(
            graph=name,
            input=given,
            command=body.command,
            config=body.config or {},
            context=body.context,
            modes=_MODES,
            subgraphs=True,
            only=query.only or body.only,
        )
        run = await self._runs.start(wanted, owner=owner, thread_id=thread)
        leaves = (query.on_disconnect or body.on_disconnect) == "cancel"
        leave = (lambda: self._runs.cancel_soon(run)) if leaves else None
        return await self._stream(request, run, query, new=True, on_leave=leave)

    @_streams("GET", "/runs/{id}/events")
    async def follow(
        self, request: Request, query: FollowQuery, headers: LastEventId
    ) -> EventStream | Response:
        """Follow a run from its beginning, or from after `Last-Event-ID`.

        From the beginning, each message so far comes as one event; such events have ids like
        `RUN:199.2`. Live events are added to it. `replay=full` sends every event instead.
        """
        run = await self._runs.get(request.path_params["id"], self._service.owner(request))
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        known = _position(headers)
        if known and known.run not in ("", run.id):
            raise InvalidError(f"Last-Event-ID belongs to another run, {known.run}")
        return await self._stream(request, run, query, known)

    @Operation("POST", "/runs/{id}/cancel")
    async def cancel(self, request: Request) -> Cancelled:
        """Stop a run, if it has not ended."""
        owner = self._service.owner(request)
        run = await self._runs.get(request.path_params["id"], owner)
        if not run.final:
            with contextlib.suppress(NotFoundError):  # it has ended in the meantime
                await self._runs.cancel(run.id, owner, wait=True)
            run = await self._runs.get(run.id, owner)
        return Cancelled(run=run.id, status=run.status)

    async def _known(self, request: Request, run_id: str, graph: str) -> Run:
        run = await self._runs.get(run_id, self._service.owner(request))
        if run.request.graph != graph:
            raise NotFoundError(f"run {run_id} belongs to another graph, {run.request.graph}")
        return run

    async def _stream(
        self,
        request: Request,
        run: Run,
        query: FollowQuery,
        known: _Position | None = None,
        *,
        new: bool = False,
        on_leave: Callable[[], Any] | None = None,
    ) -> EventStream | Response:
        try:
            only = run_filter(query.only)
        except FilterError as error:
            raise InvalidError(str(error)) from None
        late = known is None and not new and query.replay != "full"
        known = known or _Position(run.id)
        frames = Frames(run, only, known.id, known.part, greeted=new)
        prefix = request.scope.get("root_path", "")
        begun = _RETRY + frames.hello(0) if new else _RETRY
        log = self._runs.log
        events: EventReader
        if late or known.part:
            events = LateReader(log, run.id, only, known.id or None)
        else:  # from the beginning, as the end event reports earlier interrupts, too
            events = log.follow(run.id)
        parts = EventParts(events, frames.encode)
        if run.final:
            # A browser reconnects even after the end; only 204 stops it.
            first = await anext(parts, b"")
            if not first:
                return Response(status_code=204)
            begun += first
        return EventStream(
            parts,
            self._service.limits,
            begun=begun,
            headers={"content-location": quote(f"{prefix}/runs/{run.id}")},
            on_leave=on_leave,
        )


class _Position(NamedTuple):
    """The event to continue after; with ``part``, within a compact replay up to that event.

    ``run`` is "" if the URL names the run.
    """

    run: str
    id: int = 0
    part: int = 0


def _position(headers: LastEventId) -> _Position | None:
    if headers.last_event_id is None:
        return None
    run, _, position = headers.last_event_id.rpartition(":")
    number, _, part = position.partition(".")
    return _Position(run, int(number) + 1, int(part)) if part else _Position(run, int(number))


def _own_page(request: Request, owner: str) -> None:
    """Refuse requests of other sites' pages that had no preflight, as runs cost money."""
    headers = request.headers
    # Pages do not have the key; and the guard has checked any Origin header.
    if owner or "origin" in headers:
        return
    site = headers.get("sec-fetch-site")
    if site is None:
        # Not a browser; or one that omits the header, as all do for http://192.168.1.5.
        browser = headers.get("user-agent", "").startswith("Mozilla/")
        place = headers.get("referer", "").partition("://")[2].partition("/")[0]
        own = not browser or place == headers.get("host")
    else:
        own = site in ("none", "same-origin")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not own and (request.method != "POST" or kind != "application/json"):
        raise ForeignPageError(
            "pages of other origins must start runs by POST with JSON, as client.js does"
        )
