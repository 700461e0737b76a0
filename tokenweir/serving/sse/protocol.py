"""Plain server-sent events: graphs for ``curl -N``, browsers' ``EventSource``, the client module.

- ``GET /graphs``, ``GET /graphs/{name}``: which graphs there are, and what they take.
- ``GET /graphs/{name}/picture.svg`` and ``picture.mermaid``.
- ``GET /graphs/{name}/events?topic=cats&only=tag:joke`` starts a run and streams its events.
- ``POST /graphs/{name}/events`` the same, with a JSON body.
- ``GET /runs/{id}/events`` follows a run from its beginning, or from after ``Last-Event-ID``.
- ``POST /runs/{id}/cancel`` stops a run.

An event's id names its run and its place there, ``RUN:7``. So an ``EventSource`` that comes back
with ``Last-Event-ID`` to the address that started a run goes on with that run. Events are named
``run`` (first on each connection), ``token``, ``node``, ``custom``, ``remove``, and, last, ``end``
or ``error``; their data are the records of ``tokenweir run --json``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from tokenweir.errors import FilterError
from tokenweir.serving.graph_inputs import Key, from_text, keys_of
from tokenweir.serving.graph_svg import graph_svg
from tokenweir.serving.http.bodies import parse
from tokenweir.serving.http.event_parts import EventParts
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.problems import InvalidError, NotFoundError, ServingError
from tokenweir.serving.running.records import Run, RunRequest
from tokenweir.serving.running.runs import Runs
from tokenweir.serving.service import Service
from tokenweir.serving.sse.frames import Frames
from tokenweir.streaming.filters import as_filter

__all__ = ["ForeignPageError", "routes"]

_BODY = ("input", "command", "config", "context", "only", "thread_id", "on_disconnect")
_QUERY = ("only", "thread_id", "on_disconnect")
_RETRY = b"retry: 1000\n\n"
"""Milliseconds after which a browser comes back: soon, as the run goes on meanwhile."""

_MODES = ["messages", "custom", "tasks"]


class ForeignPageError(ServingError):
    """Raised for what another site's page may not do without asking first, as CORS has it."""

    status = 403


def routes(service: Service) -> list[BaseRoute]:
    """The routes of this protocol."""
    protocol = _Protocol(service)
    return [
        Route("/graphs", protocol.graphs),
        Route("/graphs/{name}", protocol.graph),
        Route("/graphs/{name}/picture.svg", protocol.svg),
        Route("/graphs/{name}/picture.mermaid", protocol.mermaid),
        Route("/graphs/{name}/events", protocol.run, methods=["GET", "POST"]),
        Route("/runs/{id}/events", protocol.follow, methods=["GET"]),
        Route("/runs/{id}/cancel", protocol.cancel, methods=["POST"]),
    ]


class _Protocol:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._keys: dict[str, list[Key] | None] = {}
        self._pictures: dict[tuple[str, str], str] = {}

    @property
    def _runs(self) -> Runs:
        return self._service.runs

    # What there is

    async def graphs(self, request: Request) -> Response:
        found = await asyncio.to_thread(lambda: [self._described(name) for name in self._names()])
        return JSONResponse({"graphs": found})

    async def graph(self, request: Request) -> Response:
        name = self._name(request)
        return JSONResponse(await asyncio.to_thread(self._described, name))

    async def svg(self, request: Request) -> Response:
        picture = await self._picture(request, "svg", graph_svg)
        return Response(picture, media_type="image/svg+xml")

    async def mermaid(self, request: Request) -> Response:
        picture = await self._picture(
            request, "mermaid", lambda graph: str(graph.get_graph(xray=True).draw_mermaid())
        )
        return PlainTextResponse(picture)

    async def _picture(self, request: Request, kind: str, draw: Callable[[Any], str]) -> str:
        name = self._name(request)
        if (name, kind) not in self._pictures:
            # Drawing a large graph takes long: not in the loop that serves tokens.
            drawn = await asyncio.to_thread(draw, self._runs.graphs[name])
            self._pictures[name, kind] = drawn
        return self._pictures[name, kind]

    def _names(self) -> list[str]:
        return list(self._runs.graphs)

    def _name(self, request: Request) -> str:
        name: str = request.path_params["name"]
        if name not in self._runs.graphs:
            raise NotFoundError(f"there is no graph {name!r}; here: {', '.join(self._names())}")
        return name

    def _input_keys(self, name: str) -> list[Key] | None:
        if name not in self._keys:
            self._keys[name] = keys_of(self._runs.graphs[name])
        return self._keys[name]

    def _described(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "input": self._input_keys(name),
            "picture": f"/graphs/{quote(name, safe='')}/picture.svg",
            "events": f"/graphs/{quote(name, safe='')}/events",
        }

    # Runs

    async def run(self, request: Request) -> Any:
        """Start a run and stream it; or go on with the one that ``Last-Event-ID`` names."""
        name = self._name(request)
        if request.method == "HEAD":  # what only looks starts nothing
            return Response(media_type="text/event-stream")
        if known := _place(request):
            return await self._stream(request, self._known(request, known[0], name), known[1])
        _own_page(request, self._service.owner(request))
        asked = await _body(request)
        texts = dict(request.query_params.multi_items())
        asked |= {key: texts.pop(key) for key in _QUERY if key in texts}
        if whole := texts.pop("input", None):
            asked["input"] = parse(whole, "input")
        if texts:
            given = asked.get("input") or {}
            if not isinstance(given, dict):
                raise InvalidError("keys in the URL go over an input that is an object, not this")
            keys = await asyncio.to_thread(self._input_keys, name)
            asked["input"] = {**given, **from_text(name, keys, texts)}
        on_disconnect = asked.pop("on_disconnect", "continue")
        if on_disconnect not in ("continue", "cancel"):
            raise InvalidError('on_disconnect is "continue" or "cancel"')
        thread = asked.pop("thread_id", None)
        if thread is not None and not isinstance(thread, str):
            raise InvalidError("thread_id is text")
        asked = {key: value for key, value in asked.items() if value is not None}
        if "input" not in asked and "command" not in asked and thread is None:
            keys = await asyncio.to_thread(self._input_keys, name)
            if keys:
                there = ", ".join(key["name"] for key in keys)
                raise InvalidError(f"{name} needs an input. Its keys: {there}")
        try:
            wanted = msgspec.convert({"graph": name, "modes": _MODES, **asked}, RunRequest)
        except msgspec.ValidationError as error:
            raise InvalidError(f"the request is not understood: {error}") from None
        wanted.subgraphs = True
        owner = self._service.owner(request)
        run = await self._runs.start(wanted, owner=owner, thread_id=thread)
        leave = (lambda: self._cancel(run)) if on_disconnect == "cancel" else None
        return await self._stream(request, run, 0, new=True, on_leave=leave)

    async def follow(self, request: Request) -> Any:
        """Stream a run that has begun."""
        run = self._runs.get(request.path_params["id"], self._service.owner(request))
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        known = _place(request)
        if known and known[0] not in ("", run.id):
            raise InvalidError(f"Last-Event-ID is of another run, {known[0]}")
        return await self._stream(request, run, known[1] if known else 0)

    async def cancel(self, request: Request) -> Response:
        """Stop a run; one that is over already is no error."""
        owner = self._service.owner(request)
        run = self._runs.get(request.path_params["id"], owner)
        if not run.final:
            await self._runs.cancel(run.id, owner, wait=True)
        return JSONResponse({"run": run.id, "status": run.status})

    def _known(self, request: Request, run_id: str, graph: str) -> Run:
        run = self._runs.get(run_id, self._service.owner(request))
        if run.request.graph != graph:
            raise NotFoundError(f"run {run_id} is of another graph, {run.request.graph}")
        return run

    def _cancel(self, run: Run) -> None:
        async def cancel() -> None:
            with contextlib.suppress(NotFoundError):
                await self._runs.cancel(run.id, run.owner)

        task = asyncio.get_running_loop().create_task(cancel())
        _BACKGROUND.add(task)
        task.add_done_callback(_BACKGROUND.discard)

    async def _stream(
        self,
        request: Request,
        run: Run,
        after: int,
        *,
        new: bool = False,
        on_leave: Callable[[], Any] | None = None,
    ) -> Any:
        try:
            only = as_filter(request.query_params.get("only"))
        except FilterError as error:
            raise InvalidError(str(error)) from None
        frames = Frames(run, only, after, greeted=new)
        prefix = request.scope.get("root_path", "")
        begun = _RETRY + frames.hello(0) if new else _RETRY
        # From the beginning, as interrupts from before ``after`` are told at the end.
        parts = EventParts(self._runs.log.follow(run.id), frames.encode)
        if run.final:
            # A browser comes back after the end, too; only 204 makes it stay away.
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


_BACKGROUND: set[asyncio.Task[None]] = set()
"""Tasks that nobody waits for; the loop itself would forget them."""


def _place(request: Request) -> tuple[str, int] | None:
    """The run and the event after which to go on; "" for a run that the address names."""
    given = request.headers.get("last-event-id")
    if not given:
        return None
    run, _, number = given.rpartition(":")
    if not (number.isascii() and number.isdigit()) or len(number) > 18:
        raise InvalidError("Last-Event-ID is the id of an event, such as RUN:7")
    return run, int(number)


def _own_page(request: Request, owner: str) -> None:
    """Refuse what another site's page sends without a preflight: runs cost money."""
    headers = request.headers
    # No page has the key; and the guard let an origin in that is this server's or a listed one.
    if owner or "origin" in headers:
        return
    site = headers.get("sec-fetch-site")
    if site is None:
        # No browser; or one that does not say, as none does to http://192.168.1.5.
        browser = headers.get("user-agent", "").startswith("Mozilla/")
        place = headers.get("referer", "").partition("://")[2].partition("/")[0]
        own = not browser or place == headers.get("host")
    else:
        own = site in ("none", "same-origin")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not own and (request.method != "POST" or kind != "application/json"):
        raise ForeignPageError(
            "pages of other origins start runs by POST with JSON, as client.js does"
        )


async def _body(request: Request) -> dict[str, Any]:
    if request.method != "POST":
        return {}
    text = await request.body()
    if not text.strip():
        return {}
    body = parse(text, "the body")
    if not isinstance(body, dict):
        raise InvalidError('the body is a JSON object: {"input": {...}}')
    if unknown := sorted(set(body) - set(_BODY)):
        raise InvalidError(
            f"the body has {', '.join(_BODY)}; not {', '.join(unknown)}. "
            'The graph\'s own keys go into "input"'
        )
    return body
