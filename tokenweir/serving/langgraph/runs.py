"""Runs on LangGraph's API: stream, create, wait, join, list, get, cancel, delete.

What a request asks for is read in ``requests.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tokenweir.serving.http.bodies import field, flag, number, read_bodies, read_body
from tokenweir.serving.http.event_parts import EventParts
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.langgraph.frames import Frames, wire_modes, wire_names
from tokenweir.serving.langgraph.requests import Asked, asked_of
from tokenweir.serving.problems import InvalidError, NotFoundError
from tokenweir.serving.running.encoding import encode
from tokenweir.serving.running.records import Run
from tokenweir.serving.running.runs import Runs
from tokenweir.serving.service import Service

__all__ = ["routes"]

_HEARTBEAT = b": heartbeat\n"
"""Without an empty line: the npm client 2.0.0 would take that for an event."""

_IN_PATHS = "!$&'()*+,;=:@~"
"""What stands for itself in a segment of a path, besides letters, digits and ``-._``."""


def routes(service: Service) -> list[BaseRoute]:
    """The routes of runs."""
    handlers = _Handlers(service)
    on_thread, one = "/threads/{thread_id}/runs", "/threads/{thread_id}/runs/{run_id}"
    return [
        Route("/runs/stream", handlers.stream, methods=["POST"]),
        Route("/runs/wait", handlers.wait, methods=["POST"]),
        Route("/runs", handlers.create, methods=["POST"]),
        Route("/runs/batch", handlers.create_several, methods=["POST"]),
        Route("/runs/cancel", handlers.cancel_several, methods=["POST"]),
        Route(f"{on_thread}/stream", handlers.stream, methods=["POST"]),
        Route(f"{on_thread}/wait", handlers.wait, methods=["POST"]),
        Route(on_thread, handlers.create, methods=["POST"]),
        Route(on_thread, handlers.list_runs, methods=["GET"]),
        Route(one, handlers.get, methods=["GET"]),
        Route(one, handlers.delete, methods=["DELETE"]),
        Route(f"{one}/join", handlers.join, methods=["GET"]),
        Route(f"{one}/stream", handlers.join_stream, methods=["GET"]),
        Route(f"{one}/cancel", handlers.cancel, methods=["POST"]),
    ]


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def _runs(self) -> Runs:
        return self._service.runs

    async def stream(self, request: Request) -> Any:
        asked = self._asked(request, await read_body(request))
        run = await self._start(request, asked)
        leave = self._on_leave(run, asked.leaves)
        return self._follow(run, Frames(run.request.asked), leave)

    async def create(self, request: Request) -> Response:
        run = await self._start(request, self._asked(request, await read_body(request)))
        return _json(_run(run), _headers(run, "stream"))

    async def create_several(self, request: Request) -> Response:
        bodies = await read_bodies(request)
        several = [self._asked(request, body) for body in bodies]  # all or none
        return _json([_run(await self._start(request, asked)) for asked in several])

    async def wait(self, request: Request) -> Any:
        asked = self._asked(request, await read_body(request), also="values")
        run = await self._start(request, asked)
        leave = self._on_leave(run, asked.leaves)
        return self._values(run, request, leave)

    async def join(self, request: Request) -> Any:
        run = self._run(request)
        leave = self._on_leave(run, flag(request, "cancel_on_disconnect"))
        return self._values(run, request, leave)

    async def join_stream(self, request: Request) -> Any:
        try:
            run = self._run(request)
        except NotFoundError as error:
            data = encode({"error": "HTTPException", "message": f"404: {error}"})
            return EventStream(_once(b"event: error\ndata: %s\n\n" % data), self._service.limits)
        given = request.query_params.getlist("stream_mode")
        names = [name for part in given for name in part.split(",") if name]
        modes = wire_modes(names) if names else run.request.asked or wire_names(run.request.modes)
        cursor = request.headers.get("last-event-id")
        if cursor is None:
            after = 1 << 62 if run.final else self._runs.log.last_id(run.id)
        else:
            after = _cursor(cursor)
        leave = self._on_leave(run, flag(request, "cancel_on_disconnect"))
        return self._follow(run, Frames(modes, after), leave)

    async def list_runs(self, request: Request) -> Response:
        owner = self._service.owner(request)
        thread = self._runs.thread(request.path_params["thread_id"], owner)
        runs = self._runs.records.runs_of(thread.id, owner)
        status = request.query_params.get("status")
        found = [_run(run) for run in runs if status in (None, run.status)]
        offset = number(request.query_params, "offset", 0, 1 << 40)
        return _json(found[offset : offset + number(request.query_params, "limit", 10)])

    async def get(self, request: Request) -> Response:
        return _json(_run(self._run(request)))

    async def delete(self, request: Request) -> Response:
        run = self._run(request)
        await self._runs.forget(run.id, run.owner)
        return Response(status_code=204)

    async def cancel(self, request: Request) -> Response:
        run = self._run(request)
        wait = flag(request, "wait")
        undo = _undoes(request)
        await self._runs.cancel(run.id, run.owner, wait=wait, undo=undo)
        return JSONResponse({}) if wait else Response(status_code=202)

    async def cancel_several(self, request: Request) -> Response:
        body = await read_body(request)
        owner, undo = self._service.owner(request), _undoes(request)
        thread, ids = field(body, "thread_id", str), field(body, "run_ids", list)
        status = field(body, "status", str)
        if ids is None and status not in ("pending", "running", "all"):
            raise InvalidError("give run_ids, or a status: pending, running or all")
        for run in self._runs.records.runs.all():
            if (
                run.owner == owner
                and not run.final
                and thread in (None, run.thread_id)
                and (ids is None or run.id in ids)
                and status in (None, "all", run.status)
            ):
                await self._runs.cancel(run.id, owner, undo=undo)
        return Response(status_code=204)

    # Inside

    async def _start(self, request: Request, asked: Asked) -> Run:
        thread_id = request.path_params.get("thread_id")
        if thread_id is not None and not asked.makes_thread:
            self._runs.thread(thread_id, self._service.owner(request))
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

    def _asked(self, request: Request, body: dict[str, Any], also: str | None = None) -> Asked:
        assistant_id = field(body, "assistant_id", str)
        if assistant_id is None:
            raise InvalidError("assistant_id is missing: a graph's name, or an assistant's id")
        try:
            assistant = self._runs.assistant(assistant_id, self._service.owner(request))
        except NotFoundError as error:
            raise InvalidError(str(error)) from None
        return asked_of(body, assistant, also)

    def _run(self, request: Request) -> Run:
        run = self._runs.get(request.path_params["run_id"], self._service.owner(request))
        if run.thread_id != request.path_params["thread_id"]:
            raise NotFoundError(f"there is no run {run.id} on this thread")
        return run

    def _on_leave(self, run: Run, stops: bool) -> Callable[[], None] | None:
        return (lambda: self._runs.worker.cancel(run.id)) if stops else None

    def _follow(self, run: Run, frames: Frames, leave: Callable[[], None] | None) -> EventStream:
        events = self._runs.log.follow(run.id, frames.start)
        return EventStream(
            EventParts(events, frames.encode),
            self._service.limits,
            headers=_headers(run, "stream"),
            on_leave=leave,
            heartbeat=_HEARTBEAT,
        )

    def _values(self, run: Run, request: Request, leave: Callable[[], None] | None) -> EventStream:
        """The final values, when there are any; white space before them keeps proxies patient."""

        async def values() -> AsyncIterator[bytes]:
            found = await self._runs.state(run.id, run.owner)
            yield encode({"__error__": run.error} if run.error is not None else found)

        headers = {**_headers(run, "join"), "content-type": "application/json"}
        return EventStream(
            values(), self._service.limits, headers=headers, on_leave=leave, heartbeat=b"\n"
        )


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _undoes(request: Request) -> bool:
    action = request.query_params.get("action", "interrupt")
    if action not in ("interrupt", "rollback"):
        raise InvalidError("action is interrupt or rollback")
    return action == "rollback"


def _cursor(text: str) -> int:
    if text == "-1":
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise InvalidError("Last-Event-ID is an id of this stream's events, or -1")
    return int(text)


def _headers(run: Run, what: str) -> dict[str, str]:
    """Paths without a host: clients put them behind the URL that they know."""
    place = f"/threads/{quote(run.thread_id, safe=_IN_PATHS)}/runs/{run.id}"
    return {
        "Content-Location": f"/runs/{run.id}" if run.temporary else place,
        "Location": f"{place}/{what}",
    }


def _run(run: Run) -> dict[str, Any]:
    request = run.request
    return {
        "run_id": run.id,
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_id,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "status": run.status,
        "metadata": run.metadata,
        "multitask_strategy": run.strategy,
        "kwargs": {
            "input": request.input,
            "command": request.command,
            "config": request.config,
            "context": request.context,
            "stream_mode": request.modes,
            "subgraphs": request.subgraphs,
        },
    }


def _json(value: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(value), media_type="application/json", headers=headers)
