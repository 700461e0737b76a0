"""Threads on LangGraph's API: create, get, search, update, copy, delete; state, history."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from langgraph.pregel import Pregel
from langgraph.types import StateUpdate
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tokenweir.serving.http.endpoints import JSON, Operation, routes_of
from tokenweir.serving.langgraph.schema import threads as schema
from tokenweir.serving.langgraph.schema.common import PAGES, Count, Place, only
from tokenweir.serving.langgraph.schema.threads import Checkpoint, State
from tokenweir.serving.langgraph.states import (
    checkpoint_of,
    config_of,
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

_ONE = "/threads/{thread_id}"
_States: TypeAlias = list[State] | list[dict[str, Any]]
"""States, whole or with the fields that were asked for."""


def routes(service: Service) -> list[BaseRoute]:
    """The routes of threads."""
    return routes_of(_Threads(service), "Threads")


class _Threads:
    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def _runs(self) -> Runs:
        return self._service.runs

    @property
    def _table(self) -> Table[Thread]:
        return self._runs.records.threads

    @Operation("POST", "/threads", refuses=(409, 422, 503), example={"metadata": {"user": "ann"}})
    async def create(self, request: Request, body: schema.ThreadCreate) -> schema.Thread:
        """Create a thread."""
        owner = self._service.owner(request)
        thread_id = body.thread_id or new_id()
        check_id("thread_id", thread_id)
        known = self._table.get(thread_id)
        taken = self._runs.records.owner_of(thread_id) not in (None, owner)
        if taken or (known and body.if_exists != "do_nothing"):
            raise ConflictError(f"there is a thread {thread_id} already")
        if known is not None:
            return _shown(known)
        metadata = body.metadata or {}
        check_size({"metadata": metadata})
        self._runs.check_threads(owner)
        made = Thread(id=thread_id, owner=owner, metadata=metadata)
        graph = body.graph_id or metadata.get("graph_id")
        made.graph = graph if graph in self._runs.graphs else None
        self._table.save(made)
        if body.supersteps:
            try:
                await self._apply(made, body.supersteps)
            except InvalidError:
                await self._runs.forget_thread(thread_id, owner)
                raise
        try:
            await self._runs.log.saved(patient=False)
        except StoreError:
            self._table.remove(thread_id)
            raise
        return _shown(made)

    @Operation("POST", "/threads/search", gives=list[dict[str, Any]], sets=PAGES, refuses=(422,))
    async def search(self, request: Request, body: schema.ThreadSearch) -> Response:
        """List threads, newest first."""
        found, headers = body.of(self._found(request, body))
        page = only([_shown(each) for each in found], body.select)
        return Response(encode(page), media_type=JSON, headers=headers)

    @Operation("POST", "/threads/count")
    async def count(self, request: Request, body: schema.ThreadSearch) -> Count:
        """Count threads."""
        return len(self._found(request, body))

    @Operation("POST", "/threads/prune")
    async def prune(self, request: Request, body: schema.ThreadsAsked) -> schema.ThreadsPruned:
        """Forget several threads, and stop their runs."""
        owner = self._service.owner(request)
        ids = set(body.thread_ids or ())
        threads = [each for each in self._table.all() if each.id in ids and each.owner == owner]
        for thread in threads:
            await self._runs.forget_thread(thread.id, owner)
        return schema.ThreadsPruned(pruned_count=len(threads))

    @Operation("GET", _ONE)
    async def get(self, request: Request) -> schema.Thread:
        """Read a thread."""
        return _shown(self._thread(request))

    @Operation("PATCH", _ONE, also={204: "Changed, with `Prefer: return=minimal`."})
    async def update(self, request: Request, body: schema.ThreadChange) -> schema.Thread | None:
        """Change a thread's metadata."""
        thread = self._thread(request)
        metadata = {**thread.metadata, **(body.metadata or {})}
        check_size({"metadata": metadata})
        thread.metadata = metadata
        self._table.save(thread)
        return None if "return=minimal" in request.headers.get("prefer", "") else _shown(thread)

    @Operation("DELETE", _ONE)
    async def delete(self, request: Request) -> None:
        """Forget a thread, and stop its runs."""
        thread_id, owner = request.path_params["thread_id"], self._service.owner(request)
        await self._runs.forget_thread(thread_id, owner)

    @Operation("POST", f"{_ONE}/copy")
    async def copy(self, request: Request) -> schema.Thread:
        """Create a thread with the state and the history of another."""
        thread_id, owner = request.path_params["thread_id"], self._service.owner(request)
        return _shown(await self._runs.copy_thread(thread_id, owner))

    @Operation("GET", f"{_ONE}/state")
    @Operation("GET", f"{_ONE}/state/{{checkpoint_id}}")
    async def state(self, request: Request, query: schema.StateQuery) -> State | dict[str, Any]:
        """Read the thread's newest state, or the one at a checkpoint; empty if nothing ran."""
        place = Place(checkpoint_id=request.path_params.get("checkpoint_id"))
        found = await self._state(self._thread(request), place, subgraphs=query.subgraphs)
        return selected(found or no_state(), query.select)

    @Operation("POST", f"{_ONE}/state/checkpoint")
    async def state_at(self, request: Request, body: schema.StateAsked) -> State | dict[str, Any]:
        """Read the thread's state at a checkpoint, which may be a subgraph's."""
        thread = self._thread(request)
        found = await self._state(thread, body.checkpoint, subgraphs=bool(body.subgraphs))
        # RemoteGraph reads these keys of a thread that has no state yet, too.
        empty = Checkpoint(thread_id=thread.id, checkpoint_ns="", checkpoint_id=None)
        return selected(found or no_state(empty, metadata={}), body.select)

    @Operation(
        "POST",
        f"{_ONE}/state",
        refuses=(404, 409, 422),
        example={"values": {"topic": "cats"}, "as_node": "write_joke"},
    )
    async def update_state(self, request: Request, body: schema.StateChange) -> schema.StateChanged:
        """Change the state as a node would."""
        thread = self._thread(request)
        graph = self._graph(thread)
        if graph is None:
            raise InvalidError("this thread belongs to no graph yet: start a run on it first")
        if thread.status == "busy":
            raise ConflictError("the thread is busy with a run; wait for it, or cancel it")
        place = body.checkpoint or Place()
        if body.checkpoint_id:
            place = msgspec.structs.replace(place, checkpoint_id=body.checkpoint_id)
        try:
            made = await graph.aupdate_state(
                config_of(thread, place), body.values, as_node=body.as_node
            )
        except Exception as error:  # noqa: BLE001 - reducers fail in ways of their own
            said = scrubbed(str(error))
            raise InvalidError(f"the state cannot be updated so: {said}") from None
        await self._refresh(thread, graph)
        checkpoint = checkpoint_of(made, thread)
        return schema.StateChanged(
            checkpoint=checkpoint,
            configurable=checkpoint,
            checkpoint_id=checkpoint.checkpoint_id if checkpoint else None,
        )

    @Operation("GET", f"{_ONE}/history", gives=_States)
    async def read_history(self, request: Request, query: schema.HistoryQuery) -> list[Any]:
        """Read the thread's states so far, newest first."""
        asked = schema.HistoryAsked(limit=query.limit, before=query.before)
        return await self.history(request, asked)

    @Operation("POST", f"{_ONE}/history", gives=_States)
    async def history(self, request: Request, body: schema.HistoryAsked) -> list[Any]:
        """Read the thread's states so far, newest first."""
        thread = self._thread(request)
        graph = self._graph(thread)
        if graph is None:
            return []
        history = graph.aget_state_history(
            config_of(thread, body.checkpoint),
            filter=body.metadata,
            before=config_of(thread, body.place) if body.place else None,
            limit=body.most,
        )
        try:
            return [selected(shown_state(each, thread), body.select) async for each in history]
        except ValueError as error:  # keys of metadata that the checkpointer does not take
            raise InvalidError(f"there is no such history: {error}") from None

    # Inside

    def _thread(self, request: Request) -> Thread:
        return self._runs.thread(request.path_params["thread_id"], self._service.owner(request))

    def _graph(self, thread: Thread) -> Pregel[Any, Any, Any, Any] | None:
        graph = self._runs.graphs.get(thread.graph or "")
        return graph if isinstance(graph, Pregel) else None

    async def _state(self, thread: Thread, place: Place | None, *, subgraphs: bool) -> State | None:
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

    async def _apply(self, thread: Thread, steps: list[schema.Superstep]) -> None:
        """Bring a thread to a state by updates, as another server's history tells them."""
        graph = self._graph(thread)
        if graph is None:
            raise InvalidError("supersteps need graph_id, the name of a graph here")
        try:
            updates = [[_update(each) for each in step.updates] for step in steps]
            await graph.abulk_update_state(config_of(thread), updates)
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

    def _found(self, request: Request, body: schema.ThreadSearch) -> list[Thread]:
        owner = self._service.owner(request)
        ids = None if body.ids is None else set(body.ids)
        metadata, values = body.metadata or {}, body.values or {}
        found = [
            each
            for each in self._table.all()
            if each.owner == owner
            and (ids is None or each.id in ids)
            and body.status in (None, each.status)
            and all(each.metadata.get(key) == value for key, value in metadata.items())
            and all((each.values or {}).get(key) == value for key, value in values.items())
        ]
        name = body.sort_by or "created_at"
        field = "id" if name == "thread_id" else name
        found.sort(key=lambda each: str(getattr(each, field)))
        if body.sort_order != "asc":
            found.reverse()
        return found


def _update(given: schema.Update) -> StateUpdate:
    values: Any = command_of(given.command) or given.values
    return StateUpdate(values=values, as_node=given.as_node)


def _shown(thread: Thread) -> schema.Thread:
    return schema.Thread(
        thread_id=thread.id,
        created_at=thread.created_at,
        updated_at=thread.updated_at,
        state_updated_at=thread.state_updated_at,
        metadata=thread.metadata,
        status=thread.status,
        config=thread.config,
        values=thread.values,
        interrupts=thread.interrupts,
        error=thread.error,
    )
