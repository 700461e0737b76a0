"""Threads on LangGraph's API: create, get, search, update, delete; state, history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.pregel import Pregel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tokenweir.serving.bodies import field, flag, number, read_body
from tokenweir.serving.encoding import encode, plain, scrubbed
from tokenweir.serving.problems import ConflictError, InvalidError
from tokenweir.serving.records import Thread, now
from tokenweir.serving.runs import LONGEST_ID, new_id

if TYPE_CHECKING:
    from tokenweir.serving.app import Service

__all__ = ["routes", "shown_state"]


def routes(service: Service) -> list[BaseRoute]:
    """The routes of threads."""
    handlers = _Handlers(service)
    one = "/threads/{thread_id}"
    return [
        Route("/threads", handlers.create, methods=["POST"]),
        Route("/threads/search", handlers.search, methods=["POST"]),
        Route("/threads/count", handlers.count, methods=["POST"]),
        Route(one, handlers.get, methods=["GET"]),
        Route(one, handlers.update, methods=["PATCH"]),
        Route(one, handlers.delete, methods=["DELETE"]),
        Route(f"{one}/state", handlers.state, methods=["GET"]),
        Route(f"{one}/state", handlers.update_state, methods=["POST"]),
        Route(f"{one}/state/checkpoint", handlers.state_at, methods=["POST"]),
        Route(f"{one}/state/{{checkpoint_id}}", handlers.state, methods=["GET"]),
        Route(f"{one}/history", handlers.history, methods=["POST", "GET"]),
    ]


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._runs = service.runs
        self._table = service.runs.records.threads

    async def create(self, request: Request) -> Response:
        body = await read_body(request)
        owner = self._service.owner(request)
        thread_id = field(body, "thread_id", str) or new_id()
        if len(thread_id) > LONGEST_ID or "/" in thread_id:
            raise InvalidError(f"thread_id has at most {LONGEST_ID} characters, and no /")
        known = self._table.get(thread_id)
        if known is not None:
            if body.get("if_exists") != "do_nothing" or known.owner != owner:
                raise ConflictError(f"there is a thread {thread_id} already")
            return _json(_thread(known))
        metadata = field(body, "metadata", dict) or {}
        made = Thread(id=thread_id, owner=owner, metadata=metadata)
        graph = field(body, "graph_id", str) or metadata.get("graph_id")
        made.graph = graph if graph in self._runs.graphs else None
        self._table.save(made)
        await self._runs.log.saved()
        return _json(_thread(made))

    async def get(self, request: Request) -> Response:
        return _json(_thread(self._thread(request)))

    async def search(self, request: Request) -> Response:
        body = await read_body(request)
        found = self._found(request, body)
        offset, limit = number(body, "offset", 0, 1 << 40), number(body, "limit", 10)
        headers = {"X-Pagination-Total": str(len(found))}
        if offset + limit < len(found):
            headers["X-Pagination-Next"] = str(offset + limit)
        page = [_thread(each) for each in found[offset : offset + limit]]
        select = field(body, "select", list)
        if not all(isinstance(name, str) for name in select or ()):
            raise InvalidError("select is a list of keys")
        if select:
            page = [{name: each[name] for name in select if name in each} for each in page]
        return Response(encode(page), media_type="application/json", headers=headers)

    async def count(self, request: Request) -> Response:
        return JSONResponse(len(self._found(request, await read_body(request))))

    async def update(self, request: Request) -> Response:
        body = await read_body(request)
        thread = self._thread(request)
        thread.metadata = {**thread.metadata, **(field(body, "metadata", dict) or {})}
        return _json(_thread(self._table.save(thread)))

    async def delete(self, request: Request) -> Response:
        await self._runs.forget_thread(
            request.path_params["thread_id"], self._service.owner(request)
        )
        return Response(status_code=204)

    async def state(self, request: Request) -> Response:
        thread = self._thread(request)
        place = {"checkpoint_id": request.path_params.get("checkpoint_id")}
        found = await self._state(thread, place, flag(request, "subgraphs"))
        return _json(found or _nothing(None))

    async def state_at(self, request: Request) -> Response:
        body = await read_body(request)
        thread = self._thread(request)
        place = field(body, "checkpoint", dict) or {}
        found = await self._state(thread, place, bool(body.get("subgraphs")))
        # RemoteGraph reads these keys of a thread that has no state yet, too.
        empty = {"thread_id": thread.id, "checkpoint_ns": "", "checkpoint_id": None}
        return _json(found or {**_nothing(empty), "metadata": {}})

    async def update_state(self, request: Request) -> Response:
        body = await read_body(request)
        thread = self._thread(request)
        graph = self._graph(thread)
        if graph is None:
            raise InvalidError("this thread belongs to no graph yet: start a run on it first")
        if thread.status == "busy":
            raise ConflictError("the thread is busy with a run; wait for it, or cancel it")
        place = field(body, "checkpoint", dict) or {}
        if given := field(body, "checkpoint_id", str):
            place = {**place, "checkpoint_id": given}
        try:
            made = await graph.aupdate_state(
                _config(thread, place), body.get("values"), as_node=field(body, "as_node", str)
            )
        except Exception as error:  # noqa: BLE001 - reducers fail in ways of their own
            said = scrubbed(str(error))
            raise InvalidError(f"the state cannot be updated so: {said}") from None
        await self._refresh(thread, graph)
        checkpoint = _checkpoint(made, thread)
        return _json(
            {
                "checkpoint": checkpoint,
                "configurable": checkpoint,
                "checkpoint_id": (checkpoint or {}).get("checkpoint_id"),
            }
        )

    async def history(self, request: Request) -> Response:
        body = await read_body(request)
        thread = self._thread(request)
        graph = self._graph(thread)
        if graph is None:
            return _json([])
        before = body.get("before") or request.query_params.get("before")
        if isinstance(before, dict):
            before = (field(before, "configurable", dict) or before).get("checkpoint_id")
        source = body if request.method == "POST" else request.query_params
        history = graph.aget_state_history(
            _config(thread, field(body, "checkpoint", dict) or {}),
            filter=field(body, "metadata", dict),
            before=_config(thread, {"checkpoint_id": before}) if before else None,
            limit=number(source, "limit", 10),
        )
        try:
            found = [shown_state(snapshot, thread) async for snapshot in history]
        except ValueError as error:  # keys of metadata that the checkpointer does not take
            raise InvalidError(f"there is no such history: {error}") from None
        return _json(found)

    # Inside

    def _thread(self, request: Request) -> Thread:
        return self._runs.thread(request.path_params["thread_id"], self._service.owner(request))

    def _graph(self, thread: Thread) -> Pregel[Any, Any, Any, Any] | None:
        graph = self._runs.graphs.get(thread.graph or "")
        return graph if isinstance(graph, Pregel) else None

    async def _state(
        self, thread: Thread, place: dict[str, Any], subgraphs: bool
    ) -> dict[str, Any] | None:
        graph = self._graph(thread)
        if graph is None:
            return None
        try:
            snapshot = await graph.aget_state(_config(thread, place), subgraphs=subgraphs)
        except ValueError as error:
            raise InvalidError(f"there is no such checkpoint: {error}") from None
        if snapshot.metadata is None and snapshot.created_at is None:
            return None
        return shown_state(snapshot, thread)

    async def _refresh(self, thread: Thread, graph: Any) -> None:
        snapshot = await graph.aget_state({"configurable": {"thread_id": thread.id}})
        thread.values = plain(snapshot.values)
        interrupts = {
            task.id: [{"id": each.id, "value": each.value} for each in task.interrupts]
            for task in snapshot.tasks
            if task.interrupts
        }
        thread.interrupts = plain(interrupts)
        thread.status = "interrupted" if snapshot.next else "idle"
        thread.state_updated_at = now()
        self._table.save(thread)

    def _found(self, request: Request, body: dict[str, Any]) -> list[Thread]:
        owner = self._service.owner(request)
        ids, status = field(body, "ids", list), field(body, "status", str)
        metadata = field(body, "metadata", dict) or {}
        values = field(body, "values", dict) or {}
        found = [
            each
            for each in self._table.all()
            if each.owner == owner
            and (ids is None or each.id in ids)
            and status in (None, each.status)
            and all(each.metadata.get(key) == value for key, value in metadata.items())
            and all((each.values or {}).get(key) == value for key, value in values.items())
        ]
        by = body.get("sort_by")
        name = by if by in ("created_at", "updated_at", "status") else "created_at"
        found.sort(key=lambda each: str(getattr(each, name)))
        if body.get("sort_order") != "asc":
            found.reverse()
        return found


def shown_state(snapshot: Any, thread: Thread) -> dict[str, Any]:
    """A ``StateSnapshot`` as clients read it."""
    checkpoint = _checkpoint(snapshot.config, thread)
    parent = _checkpoint(snapshot.parent_config, thread)
    return {
        "values": snapshot.values,
        "next": list(snapshot.next),
        "tasks": [_task(task, thread) for task in snapshot.tasks],
        "metadata": snapshot.metadata,
        "created_at": snapshot.created_at,
        "checkpoint": checkpoint,
        "parent_checkpoint": parent,
        "interrupts": [_interrupt(each) for each in snapshot.interrupts],
        "checkpoint_id": (checkpoint or {}).get("checkpoint_id"),
        "parent_checkpoint_id": (parent or {}).get("checkpoint_id"),
    }


def _task(task: Any, thread: Thread) -> dict[str, Any]:
    state, checkpoint = None, None
    if isinstance(task.state, dict):
        checkpoint = _checkpoint(task.state, thread)
    elif task.state is not None:
        state = shown_state(task.state, thread)
        checkpoint = state["checkpoint"]
    error = task.error
    return {
        "id": task.id,
        "name": task.name,
        "path": list(task.path),
        "error": None if error is None else str(error),
        "interrupts": [_interrupt(each) for each in task.interrupts],
        "checkpoint": checkpoint,
        "state": state,
        "result": task.result,
    }


def _interrupt(each: Any) -> dict[str, Any]:
    return {"id": each.id, "value": each.value}


def _checkpoint(config: Any, thread: Thread) -> dict[str, Any] | None:
    configurable = (config or {}).get("configurable")
    if not configurable:
        return None
    return {
        "thread_id": thread.id,
        "checkpoint_ns": configurable.get("checkpoint_ns", ""),
        "checkpoint_id": configurable.get("checkpoint_id"),
    }


def _config(thread: Thread, place: dict[str, Any]) -> Any:
    """The config of a place in a thread; of what a client says, only where it is."""
    configurable: dict[str, Any] = {"thread_id": thread.id}
    for name in ("checkpoint_ns", "checkpoint_id"):
        value = place.get(name)
        if value is not None and not isinstance(value, str):
            raise InvalidError(f"{name} must be a string")
        if value:
            configurable[name] = value
    return {"configurable": configurable}


def _nothing(checkpoint: dict[str, Any] | None) -> dict[str, Any]:
    """The state of a thread on which nothing ran."""
    return {
        "values": {},
        "next": [],
        "tasks": [],
        "metadata": None,
        "created_at": None,
        "checkpoint": checkpoint,
        "parent_checkpoint": None,
        "interrupts": [],
        "checkpoint_id": None,
        "parent_checkpoint_id": None,
    }


def _thread(thread: Thread) -> dict[str, Any]:
    return {
        "thread_id": thread.id,
        "created_at": thread.created_at,
        "updated_at": thread.updated_at,
        "state_updated_at": thread.state_updated_at,
        "metadata": thread.metadata,
        "status": thread.status,
        "config": thread.config,
        "values": thread.values,
        "interrupts": thread.interrupts,
        "error": thread.error,
    }


def _json(value: Any) -> Response:
    return Response(encode(value), media_type="application/json")
