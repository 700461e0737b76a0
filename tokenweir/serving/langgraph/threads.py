"""Threads on LangGraph's API: create, get, search, update, copy, delete; state, history."""

from __future__ import annotations

from typing import Any

from langgraph.pregel import Pregel
from langgraph.types import StateUpdate
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tokenweir.serving.http.bodies import choice, field, flag, number, read_body
from tokenweir.serving.langgraph.states import (
    checkpoint_of,
    config_of,
    names_of,
    no_state,
    selected,
    shown_state,
)
from tokenweir.serving.problems import ConflictError, InvalidError, StoreError
from tokenweir.serving.running.configs import check_size
from tokenweir.serving.running.encoding import encode, plain, scrubbed
from tokenweir.serving.running.execution import command_of
from tokenweir.serving.running.ids import check_id, new_id
from tokenweir.serving.running.records import Table, Thread, now
from tokenweir.serving.running.runs import Runs
from tokenweir.serving.service import Service

__all__ = ["routes"]

_SORTED_BY = {
    "thread_id": "id",
    "status": "status",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "state_updated_at": "state_updated_at",
}


def routes(service: Service) -> list[BaseRoute]:
    """The routes of threads."""
    handlers = _Handlers(service)
    one = "/threads/{thread_id}"
    return [
        Route("/threads", handlers.create, methods=["POST"]),
        Route("/threads/search", handlers.search, methods=["POST"]),
        Route("/threads/count", handlers.count, methods=["POST"]),
        Route("/threads/prune", handlers.prune, methods=["POST"]),
        Route(one, handlers.get, methods=["GET"]),
        Route(one, handlers.update, methods=["PATCH"]),
        Route(one, handlers.delete, methods=["DELETE"]),
        Route(f"{one}/copy", handlers.copy, methods=["POST"]),
        Route(f"{one}/state", handlers.state, methods=["GET"]),
        Route(f"{one}/state", handlers.update_state, methods=["POST"]),
        Route(f"{one}/state/checkpoint", handlers.state_at, methods=["POST"]),
        Route(f"{one}/state/{{checkpoint_id}}", handlers.state, methods=["GET"]),
        Route(f"{one}/history", handlers.history, methods=["POST", "GET"]),
    ]


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def _runs(self) -> Runs:
        return self._service.runs

    @property
    def _table(self) -> Table[Thread]:
        return self._runs.records.threads

    async def create(self, request: Request) -> Response:
        body = await read_body(request)
        owner = self._service.owner(request)
        thread_id = field(body, "thread_id", str) or new_id()
        check_id("thread_id", thread_id)
        keeps = choice(body, "if_exists", "raise", "do_nothing") == "do_nothing"
        known = self._table.get(thread_id)
        if self._runs.records.owner_of(thread_id) not in (None, owner) or (known and not keeps):
            raise ConflictError(f"there is a thread {thread_id} already")
        if known is not None:
            return _json(_thread(known))
        metadata = field(body, "metadata", dict) or {}
        check_size({"metadata": metadata})
        made = Thread(id=thread_id, owner=owner, metadata=metadata)
        graph = field(body, "graph_id", str) or metadata.get("graph_id")
        made.graph = graph if graph in self._runs.graphs else None
        steps = field(body, "supersteps", list)
        self._table.save(made)
        if steps:
            try:
                await self._apply(made, steps)
            except InvalidError:
                await self._runs.forget_thread(thread_id, owner)
                raise
        try:
            await self._runs.log.saved(patient=False)
        except StoreError:
            self._table.remove(thread_id)
            raise
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
        if body.get("extract"):
            raise InvalidError("this server does not offer extract; select values instead")
        if select := names_of(body):
            page = [{name: each[name] for name in select if name in each} for each in page]
        return Response(encode(page), media_type="application/json", headers=headers)

    async def count(self, request: Request) -> Response:
        return JSONResponse(len(self._found(request, await read_body(request))))

    async def update(self, request: Request) -> Response:
        body = await read_body(request)
        thread = self._thread(request)
        metadata = {**thread.metadata, **(field(body, "metadata", dict) or {})}
        check_size({"metadata": metadata})
        thread.metadata = metadata
        self._table.save(thread)
        if "return=minimal" in request.headers.get("prefer", ""):
            return Response(status_code=204)
        return _json(_thread(thread))

    async def copy(self, request: Request) -> Response:
        owner = self._service.owner(request)
        return _json(_thread(await self._runs.copy_thread(request.path_params["thread_id"], owner)))

    async def prune(self, request: Request) -> Response:
        body = await read_body(request)
        owner = self._service.owner(request)
        ids = field(body, "thread_ids", list) or []
        if body.get("strategy") not in (None, "delete"):
            raise InvalidError("this server does not offer to prune threads but by delete")
        threads = [each for each in self._table.all() if each.id in ids and each.owner == owner]
        for thread in threads:
            await self._runs.forget_thread(thread.id, owner)
        return JSONResponse({"pruned_count": len(threads)})

    async def delete(self, request: Request) -> Response:
        await self._runs.forget_thread(
            request.path_params["thread_id"], self._service.owner(request)
        )
        return Response(status_code=204)

    async def state(self, request: Request) -> Response:
        thread = self._thread(request)
        place = {"checkpoint_id": request.path_params.get("checkpoint_id")}
        found = await self._state(thread, place, flag(request, "subgraphs"))
        return _json(selected(found or no_state(None), request.query_params.getlist("select")))

    async def state_at(self, request: Request) -> Response:
        body = await read_body(request)
        thread = self._thread(request)
        place = field(body, "checkpoint", dict) or {}
        found = await self._state(thread, place, bool(body.get("subgraphs")))
        # RemoteGraph reads these keys of a thread that has no state yet, too.
        empty = {"thread_id": thread.id, "checkpoint_ns": "", "checkpoint_id": None}
        shown = found or {**no_state(empty), "metadata": {}}
        return _json(selected(shown, names_of(body)))

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
                config_of(thread, place), body.get("values"), as_node=field(body, "as_node", str)
            )
        except Exception as error:  # noqa: BLE001 - reducers fail in ways of their own
            said = scrubbed(str(error))
            raise InvalidError(f"the state cannot be updated so: {said}") from None
        await self._refresh(thread, graph)
        checkpoint = checkpoint_of(made, thread)
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
            config_of(thread, field(body, "checkpoint", dict) or {}),
            filter=field(body, "metadata", dict),
            before=config_of(thread, {"checkpoint_id": before}) if before else None,
            limit=number(source, "limit", 10),
        )
        select = names_of(body)
        try:
            found = [selected(shown_state(each, thread), select) async for each in history]
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
            snapshot = await graph.aget_state(config_of(thread, place), subgraphs=subgraphs)
        except ValueError as error:
            raise InvalidError(f"there is no such checkpoint: {error}") from None
        if snapshot.metadata is None and snapshot.created_at is None:
            return None
        return shown_state(snapshot, thread)

    async def _apply(self, thread: Thread, steps: list[Any]) -> None:
        """Bring a thread to a state by updates, as another server's history tells them."""
        graph = self._graph(thread)
        if graph is None:
            raise InvalidError("supersteps need graph_id, the name of a graph here")
        try:
            updates = [[_update(each) for each in step["updates"]] for step in steps]
            await graph.abulk_update_state(config_of(thread, {}), updates)
        except InvalidError:
            raise
        except Exception as error:  # noqa: BLE001 - reducers fail in ways of their own
            raise InvalidError(f"supersteps cannot be applied: {scrubbed(str(error))}") from None
        await self._refresh(thread, graph)

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
        name = field(body, "sort_by", str) or "created_at"
        if name not in _SORTED_BY:
            raise InvalidError(f"sort_by is one of {', '.join(_SORTED_BY)}")
        found.sort(key=lambda each: str(getattr(each, _SORTED_BY[name])))
        if body.get("sort_order") != "asc":
            found.reverse()
        return found


def _update(given: dict[str, Any]) -> StateUpdate:
    values: Any = command_of(given.get("command")) or given.get("values")
    return StateUpdate(values=values, as_node=given.get("as_node"))


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
