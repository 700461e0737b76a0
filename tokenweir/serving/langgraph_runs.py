"""Runs on LangGraph's API: stream, create, wait, join, list, get, cancel, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tokenweir.serving.bodies import field, flag, number, read_body
from tokenweir.serving.encoding import encode
from tokenweir.serving.event_stream import EventStream
from tokenweir.serving.events import Event
from tokenweir.serving.langgraph_frames import Frames, recorded_modes, wire_modes
from tokenweir.serving.problems import InvalidError, NotFoundError
from tokenweir.serving.records import Run, RunRequest

if TYPE_CHECKING:
    from tokenweir.serving.app import Service

__all__ = ["routes"]

_HEARTBEAT = b": heartbeat\n"
"""Without an empty line: the npm client 2.0.0 would take that for an event."""


def routes(service: Service) -> list[BaseRoute]:
    """The routes of runs."""
    handlers = _Handlers(service)
    on_thread, one = "/threads/{thread_id}/runs", "/threads/{thread_id}/runs/{run_id}"
    return [
        Route("/runs/stream", handlers.stream, methods=["POST"]),
        Route("/runs/wait", handlers.wait, methods=["POST"]),
        Route("/runs", handlers.create, methods=["POST"]),
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
        self._runs = service.runs

    async def stream(self, request: Request) -> Any:
        body = await read_body(request)
        modes = wire_modes(body.get("stream_mode"))
        run = await self._start(request, body, modes)
        leave = self._on_leave(run, body.get("on_disconnect") == "cancel")
        return self._follow(run, Frames(modes), leave)

    async def create(self, request: Request) -> Response:
        body = await read_body(request)
        run = await self._start(request, body, wire_modes(body.get("stream_mode")))
        return _json(_run(run), _headers(run, "stream"))

    async def wait(self, request: Request) -> Any:
        body = await read_body(request)
        modes = wire_modes(body.get("stream_mode"))
        run = await self._start(request, body, [*modes, "values"])
        leave = self._on_leave(run, body.get("on_disconnect") == "cancel")
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
        modes = wire_modes(
            [name for part in given for name in part.split(",") if name] or _all(run)
        )
        cursor = request.headers.get("last-event-id")
        if cursor is None:
            after = 1 << 62 if run.final else self._runs.log.last_id(run.id)
        else:
            after = _cursor(cursor)
        leave = self._on_leave(run, flag(request, "cancel_on_disconnect"))
        return self._follow(run, Frames(modes, after), leave)

    async def list_runs(self, request: Request) -> Response:
        self._runs.thread(request.path_params["thread_id"], self._service.owner(request))
        runs = self._runs.records.runs_of(request.path_params["thread_id"])
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
        await self._runs.cancel(run.id, run.owner, wait=wait)
        if request.query_params.get("action") == "rollback":
            await self._runs.wait(run.id, run.owner)
            await self._runs.forget(run.id, run.owner)
        return JSONResponse({}) if wait else Response(status_code=202)

    # Inside

    async def _start(self, request: Request, body: dict[str, Any], modes: list[str]) -> Run:
        owner = self._service.owner(request)
        thread_id = request.path_params.get("thread_id")
        assistant_id = field(body, "assistant_id", str)
        if assistant_id is None:
            raise InvalidError("assistant_id is missing: a graph's name, or an assistant's id")
        try:
            assistant = self._runs.assistant(assistant_id, owner)
        except NotFoundError as error:
            raise InvalidError(str(error)) from None
        if thread_id is not None and body.get("if_not_exists") != "create":
            self._runs.thread(thread_id, owner)
        checkpoint = field(body, "checkpoint", dict) or {}
        wanted = RunRequest(
            graph=assistant.graph,
            input=body.get("input"),
            command=field(body, "command", dict),
            config=field(body, "config", dict) or {},
            context=body.get("context"),
            modes=recorded_modes(modes),
            subgraphs=bool(body.get("stream_subgraphs")),
            only=field(body, "only", str),
            interrupt_before=_nodes(body, "interrupt_before"),
            interrupt_after=_nodes(body, "interrupt_after"),
            durability=field(body, "durability", str) or "sync",
            checkpoint_id=field(body, "checkpoint_id", str) or checkpoint.get("checkpoint_id"),
        )
        after = body.get("after_seconds") or 0
        if not isinstance(after, (int, float)) or not 0 <= after <= 86400:
            raise InvalidError("after_seconds is a number from 0 to 86400")
        return await self._runs.start(
            wanted,
            owner=owner,
            thread_id=thread_id,
            assistant_id=assistant.id,
            strategy=field(body, "multitask_strategy", str) or "enqueue",
            temporary=body.get("on_completion") != "keep" if thread_id is None else False,
            metadata=field(body, "metadata", dict) or {},
            after_seconds=after,
        )

    def _run(self, request: Request) -> Run:
        run = self._runs.get(request.path_params["run_id"], self._service.owner(request))
        if run.thread_id != request.path_params["thread_id"]:
            raise NotFoundError(f"there is no run {run.id} on this thread")
        return run

    def _on_leave(self, run: Run, stops: bool) -> Callable[[], None] | None:
        return (lambda: self._runs.stop(run.id)) if stops else None

    def _follow(self, run: Run, frames: Frames, leave: Callable[[], None] | None) -> EventStream:
        events = self._runs.log.follow(run.id, frames.start)
        return EventStream(
            _encoded(events, frames),
            self._service.limits,
            headers=_headers(run, "stream"),
            on_leave=leave,
            heartbeat=_HEARTBEAT,
        )

    def _values(self, run: Run, request: Request, leave: Callable[[], None] | None) -> EventStream:
        """The final values, when there are any; white space before them keeps proxies patient."""

        async def values() -> AsyncIterator[bytes]:
            found = await self._runs.state(run.id, run.owner)
            error = self._runs.get(run.id, run.owner).error
            yield encode({"__error__": error} if error is not None else found)

        headers = {**_headers(run, "join"), "content-type": "application/json"}
        return EventStream(
            values(), self._service.limits, headers=headers, on_leave=leave, heartbeat=b"\n"
        )


async def _encoded(events: AsyncIterator[list[Event]], frames: Frames) -> AsyncIterator[bytes]:
    async with aclosing(events):  # type: ignore[type-var]
        async for batch in events:
            if data := frames.encode(batch):
                yield data


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _all(run: Run) -> list[str]:
    """The modes that a run records, as they are called on the wire."""
    return ["messages-tuple" if mode == "messages" else mode for mode in run.request.modes]


def _cursor(text: str) -> int:
    if text == "-1":
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise InvalidError("Last-Event-ID is an id of this stream's events, or -1")
    return int(text)


def _nodes(body: dict[str, Any], name: str) -> list[str] | str | None:
    value = body.get(name)
    if value is None or value == "*":
        return value
    if isinstance(value, list) and all(isinstance(node, str) for node in value):
        return value
    raise InvalidError(f'{name} is "*" or a list of nodes')


def _headers(run: Run, what: str) -> dict[str, str]:
    """Paths without a host: clients put them behind the URL that they know."""
    place = f"/threads/{run.thread_id}/runs/{run.id}"
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
