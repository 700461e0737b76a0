"""Threads in LangGraph's API: create, get, search, update, copy, delete; state, history."""

from __future__ import annotations

import contextlib
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import msgspec
from langgraph.pregel import Pregel
from langgraph.types import StateUpdate
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tokenweir.serving.http.endpoints import JSON, Operation, routes_of
from tokenweir.serving.langgraph.schema import threads as schema
from tokenweir.serving.langgraph.schema.common import PAGES, CheckpointConfig, Count, only
from tokenweir.serving.langgraph.schema.threads import Checkpoint, State
from tokenweir.serving.langgraph.states import (
    checkpoint_of,
    config_of,
    no_state,
    selected,
    shown_state,
)
from tokenweir.serving.problems import (
    CheckpointMissingError,
    ConflictError,
    InvalidError,
    NotFoundError,
    StoreError,
)
from tokenweir.serving.running.configs import check_size
from tokenweir.serving.running.encoding import encode, plain, scrubbed
from tokenweir.serving.running.execution import check_checkpoint, command_of
from tokenweir.serving.running.ids import check_id, new_id
from tokenweir.serving.running.item_rules import check_conditions
from tokenweir.serving.running.records import Thread, now
from tokenweir.serving.running.runs import Runs
from tokenweir.serving.running.searches import ThreadSearch
from tokenweir.serving.service import Service

__all__ = ["routes"]

_ONE = "/threads/{thread_id}"
_States: TypeAlias = list[State] | list[dict[str, Any]]
"""States, whole or with the requested fields."""


def routes(service: Service) -> list[BaseRoute]:
    """The routes of threads."""
    return routes_of(_Threads(service), "Threads")


class _Threads:
    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def _runs(self) -> Runs:
        return self._service.runs

    @Operation("POST", "/threads", refuses=(409, 422, 503), example={"metadata": {"user": "ann"}})
    async def create(self, request: Request, body: schema.ThreadCreate) -> schema.Thread:
        """Create a thread."""
        owner = self._service.owner(request)
        thread_id = body.thread_id or new_id()
        check_id("thread_id", thread_id)
        metadata = body.metadata or {}
        check_size({"metadata": metadata})
        made = Thread(id=thread_id, owner=owner, metadata=metadata)
        graph = body.graph_id or metadata.get("graph_id")
        made.graph = graph if graph in self._runs.graphs else None
        try:
            await self._runs.store.create_thread(made, self._service.limits)
        except ConflictError:
            if body.if_exists != "do_nothing":
                raise
            with contextlib.suppress(NotFoundError):
                return _shown(await self._runs.thread(thread_id, owner))
            raise
        if body.supersteps:
            try:
                async with self._runs.store.locked(thread_id, owner) as made:
                    await self._apply(made, body.supersteps)
            except InvalidError:
                await self._runs.forget_thread(thread_id, owner)
                raise
        return _shown(made)

    @Operation("POST", "/threads/search", gives=list[dict[str, Any]], sets=PAGES, refuses=(422,))
    async def search(self, request: Request, body: schema.ThreadSearch) -> Response:
        """List threads, newest first."""
        found, total = await self._found(request, body)
        headers = body.headers(total)
        page = only([_shown(each) for each in found], body.select)
        return Response(encode(page), media_type=JSON, headers=headers)

    @Operation("POST", "/threads/count")
    async def count(self, request: Request, body: schema.ThreadSearch) -> Count:
        """Count threads."""
        body.limit = 0
        return (await self._found(request, body))[1]

    @Operation("POST", "/threads/prune")
    async def prune(self, request: Request, body: schema.ThreadsAsked) -> schema.ThreadsPruned:
        """Delete several threads, and stop their runs."""
        owner = self._service.owner(request)
        pruned = 0
        for thread_id in dict.fromkeys(body.thread_ids or ()):
            with contextlib.suppress(NotFoundError):
                await self._runs.forget_thread(thread_id, owner)
                pruned += 1
        return schema.ThreadsPruned(pruned_count=pruned)

    @Operation("GET", _ONE)
    async def get(self, request: Request) -> schema.Thread:
        """Read a thread."""
        return _shown(await self._thread(request))

    @Operation("PATCH", _ONE, also={204: "Changed, with `Prefer: return=minimal`."})
    async def update(self, request: Request, body: schema.ThreadChange) -> schema.Thread | None:
        """Change a thread's metadata."""
        async with self._locked(request) as thread:
            thread.metadata = {**thread.metadata, **(body.metadata or {})}
            check_size({"metadata": thread.metadata})
        return None if "return=minimal" in request.headers.get("prefer", "") else _shown(thread)

    @Operation("DELETE", _ONE)
    async def delete(self, request: Request) -> None:
        """Delete a thread, and stop its runs."""
        thread_id, owner = request.path_params["thread_id"], self._service.owner(request)
        await self._runs.forget_thread(thread_id, owner)

    @Operation("POST", f"{_ONE}/copy")
    async def copy(self, request: Request) -> schema.Thread:
        """Create a copy of a thread, with its state and history."""
        thread_id, owner = request.path_params["thread_id"], self._service.owner(request)
        return _shown(await self._runs.copy_thread(thread_id, owner))

    @Operation("GET", f"{_ONE}/state")
    @Operation("GET", f"{_ONE}/state/{{checkpoint_id}}")
    async def state(self, request: Request, query: schema.StateQuery) -> State | dict[str, Any]:
        """Read the thread's newest state, or the one at a checkpoint; empty if nothing ran."""
        checkpoint = CheckpointConfig(checkpoint_id=request.path_params.get("checkpoint_id"))
        found = await self._state(
            await self._thread(request), checkpoint, subgraphs=query.subgraphs
        )
        return selected(found or no_state(), query.select)

    @Operation("POST", f"{_ONE}/state/checkpoint")
    async def state_at(self, request: Request, body: schema.StateAsked) -> State | dict[str, Any]:
        """Read the thread's state at a checkpoint, which may be a subgraph's."""
        thread = await self._thread(request)
        found = await self._state(thread, body.checkpoint, subgraphs=bool(body.subgraphs))
        # RemoteGraph reads these keys even if the thread has no state yet.
        empty = Checkpoint(thread_id=thread.id, checkpoint_ns="", checkpoint_id=None)
        return selected(found or no_state(empty, metadata={}), body.select)

    @Operation(
        "POST",
        f"{_ONE}/state",
        refuses=(404, 409, 422),
        example={"values": {"topic": "cats"}, "as_node": "write_joke"},
    )
    async def update_state(self, request: Request, body: schema.StateChange) -> schema.StateChanged:
        """Update the state as a node would."""
        base = body.checkpoint or CheckpointConfig()
        if body.checkpoint_id:
            base = msgspec.structs.replace(base, checkpoint_id=body.checkpoint_id)
        async with self._locked(request) as thread:
            graph = self._graph(thread)
            if graph is None:
                raise InvalidError("this thread has no graph yet: start a run on it first")
            if thread.status == "busy":
                raise ConflictError("the thread is busy with a run; wait for it, or cancel it")
            config = config_of(thread, base)
            try:
                if base.checkpoint_id:
                    ns = base.checkpoint_ns or ""
                    await check_checkpoint(graph, thread.id, base.checkpoint_id, ns)
                made = await graph.aupdate_state(config, body.values, as_node=body.as_node)
            except (CheckpointMissingError, StoreError):
                raise
            except Exception as error:  # noqa: BLE001 - reducers raise errors of any kind
                said = scrubbed(str(error))
                raise InvalidError(f"the state cannot be updated: {said}") from None
            await self._refresh(thread, graph)
        checkpoint = checkpoint_of(made, thread)
        return schema.StateChanged(
            checkpoint=checkpoint,
            configurable=checkpoint,
            checkpoint_id=checkpoint.checkpoint_id if checkpoint else None,
        )

    @Operation("GET", f"{_ONE}/history", gives=_States)
    async def read_history(self, request: Request, query: schema.HistoryQuery) -> list[Any]:
        """Read the thread's past states, newest first."""
        asked = schema.HistoryAsked(limit=query.limit, before=query.before)
        return await self.history(request, asked)

    @Operation("POST", f"{_ONE}/history", gives=_States)
    async def history(self, request: Request, body: schema.HistoryAsked) -> list[Any]:
        """Read the thread's past states, newest first."""
        thread = await self._thread(request)
        graph = self._graph(thread)
        if graph is None:
            return []
        check_conditions(body.metadata or {}, "metadata")
        history = graph.aget_state_history(
            config_of(thread, body.checkpoint),
            filter=body.metadata,
            before=config_of(thread, body.before_config) if body.before_config else None,
            limit=body.most,
        )
        try:
            return [selected(shown_state(each, thread), body.select) async for each in history]
        except ValueError as error:  # the checkpointer does not accept some metadata key
            raise InvalidError(f"there is no such history: {error}") from None

    # Inside

    async def _thread(self, request: Request) -> Thread:
        owner = self._service.owner(request)
        return await self._runs.thread(request.path_params["thread_id"], owner)

    def _locked(self, request: Request) -> AbstractAsyncContextManager[Thread]:
        """A thread to change within the context; meanwhile no run of it begins or ends."""
        owner = self._service.owner(request)
        return self._runs.store.locked(request.path_params["thread_id"], owner)

    def _graph(self, thread: Thread) -> Pregel[Any, Any, Any, Any] | None:
        graph = self._runs.graphs.get(thread.graph or "")
        return graph if isinstance(graph, Pregel) else None

    async def _state(
        self, thread: Thread, checkpoint: CheckpointConfig | None, *, subgraphs: bool
    ) -> State | None:
        graph = self._graph(thread)
        if graph is None:
            return None
        try:
            snapshot = await graph.aget_state(config_of(thread, checkpoint), subgraphs=subgraphs)
        except ValueError as error:
            raise InvalidError(f"there is no such checkpoint: {error}") from None
        if snapshot.metadata is None and snapshot.created_at is None:
            return None
        return shown_state(snapshot, thread)

    async def _apply(self, thread: Thread, steps: list[schema.Superstep]) -> None:
        """Apply updates to a thread, such as another server's history."""
        graph = self._graph(thread)
        if graph is None:
            raise InvalidError("supersteps need graph_id, the name of a graph here")
        try:
            updates = [[_update(each) for each in step.updates] for step in steps]
            await graph.abulk_update_state(config_of(thread), updates)
        except (InvalidError, StoreError):
            raise
        except Exception as error:  # noqa: BLE001 - reducers raise errors of any kind
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

    async def _found(self, request: Request, body: schema.ThreadSearch) -> tuple[list[Thread], int]:
        name = body.sort_by or "created_at"
        search = ThreadSearch(
            ids=body.ids,
            metadata=body.metadata or {},
            values=body.values or {},
            status=body.status,
            sort_by="id" if name == "thread_id" else name,
            descending=body.sort_order != "asc",
            limit=body.most,
            offset=body.start,
        )
        return await self._runs.store.search_threads(self._service.owner(request), search)


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
