"""Assistants in LangGraph's API. Each graph has a default one, under a fixed id and its name."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, get_type_hints

import msgspec
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tokenweir.serving.http.endpoints import JSON, Operation, routes_of
from tokenweir.serving.langgraph.schema import assistants as schema
from tokenweir.serving.langgraph.schema.common import PAGES, Count, only
from tokenweir.serving.problems import InvalidError, NotFoundError, TooBigError
from tokenweir.serving.running.encoding import encode
from tokenweir.serving.running.ids import check_id, new_id
from tokenweir.serving.running.records import Assistant
from tokenweir.serving.running.runs import Runs
from tokenweir.serving.running.searches import AssistantSearch
from tokenweir.serving.service import Service

__all__ = ["routes"]

_logger = logging.getLogger("tokenweir.serving")


_ONE = "/assistants/{assistant_id}"


def routes(service: Service) -> list[BaseRoute]:
    """The routes of assistants."""
    return routes_of(_Assistants(service), "Assistants")


class _Assistants:
    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def _runs(self) -> Runs:
        return self._service.runs

    @Operation(
        "POST",
        "/assistants",
        refuses=(404, 409, 422),
        example={"graph_id": "chat", "name": "brief", "config": {"tags": ["brief"]}},
    )
    async def create(self, request: Request, body: schema.AssistantCreate) -> schema.Assistant:
        """Create an assistant: a graph with a config."""
        if body.graph_id not in self._runs.graphs:
            there = ", ".join(self._runs.graphs)
            raise NotFoundError(f"there is no graph {body.graph_id!r}; graphs here: {there}")
        owner = self._service.owner(request)
        wanted = body.assistant_id or new_id()
        check_id("assistant_id", wanted)
        if body.if_exists == "do_nothing":
            known = await self._runs.store.assistant(wanted)
            if known is not None and known.owner == owner:
                return _shown(known)
        blank = Assistant(id=wanted, graph=body.graph_id, owner=owner, name=body.graph_id)
        made = _changed(blank, body)
        await self._runs.store.create_assistant(made, self._service.limits.assistants)
        return _shown(made)

    @Operation("POST", "/assistants/search", gives=list[dict[str, Any]], sets=PAGES)
    async def search(self, request: Request, body: schema.AssistantSearch) -> Response:
        """List assistants. Each graph has a default one."""
        found, total = await self._found(request, body)
        headers = body.headers(total)
        page = only([_shown(each) for each in found], body.select)
        return Response(encode(page), media_type=JSON, headers=headers)

    @Operation("POST", "/assistants/count")
    async def count(self, request: Request, body: schema.AssistantSearch) -> Count:
        """Count assistants."""
        body.limit = 0
        return (await self._found(request, body))[1]

    @Operation("GET", _ONE)
    async def get(self, request: Request) -> schema.Assistant:
        """Read an assistant."""
        return _shown(await self._assistant(request))

    @Operation("PATCH", _ONE)
    async def update(self, request: Request, body: schema.AssistantChange) -> schema.Assistant:
        """Change an assistant. A graph's default one cannot be changed."""
        changed = _changed(await self._own(request), body)
        changed.version += 1
        await self._runs.store.save_assistant(changed)
        return _shown(changed)

    @Operation("DELETE", _ONE, refuses=(404, 422))
    async def delete(self, request: Request) -> None:
        """Delete an assistant. A graph's default one cannot be deleted."""
        await self._runs.store.delete_assistant((await self._own(request)).id)

    @Operation("GET", f"{_ONE}/graph")
    async def graph(self, request: Request, query: schema.GraphQuery) -> schema.Drawn:
        """Read the graph's nodes and edges."""
        drawn = (await (await self._graph(request)).aget_graph(xray=query.xray)).to_json()
        edges = [
            {name: edge[name] for name in _EDGE if edge.get(name) is not None}
            for edge in drawn["edges"]
        ]
        return schema.Drawn(nodes=drawn["nodes"], edges=edges)

    @Operation("GET", f"{_ONE}/schemas")
    async def schemas(self, request: Request) -> schema.GraphSchemas:
        """Read the JSON schemas of the graph's input, state and output."""
        known = await self._assistant(request)
        found = await asyncio.to_thread(_schemas, self._runs.graphs[known.graph])
        return schema.GraphSchemas(graph_id=known.graph, **msgspec.structs.asdict(found))

    @Operation("GET", f"{_ONE}/subgraphs")
    @Operation("GET", f"{_ONE}/subgraphs/{{namespace:path}}")
    async def subgraphs(
        self, request: Request, query: schema.SubgraphsQuery
    ) -> dict[str, schema.Schemas]:
        """Read the JSON schemas of the subgraphs, or of those below a namespace."""
        below = (await self._graph(request)).get_subgraphs(
            namespace=request.path_params.get("namespace"), recurse=query.recurse
        )
        return {name: _schemas(each) for name, each in below}

    # Inside

    async def _assistant(self, request: Request) -> Assistant:
        name = request.path_params["assistant_id"]
        return await self._runs.assistant(name, self._service.owner(request))

    async def _own(self, request: Request) -> Assistant:
        known = await self._assistant(request)
        if known.own:
            raise InvalidError("a graph's default assistant cannot be changed; create another")
        return known

    async def _graph(self, request: Request) -> Any:
        return self._runs.graphs[(await self._assistant(request)).graph]

    async def _found(
        self, request: Request, body: schema.AssistantSearch
    ) -> tuple[list[Assistant], int]:
        graphs = self._runs.graphs.keys()
        search = AssistantSearch(
            graphs=[each for each in graphs if body.graph_id in (None, each)],
            name=body.name,
            metadata=body.metadata or {},
            sort_by=body.sort_by,
            descending=body.sort_order == "desc",
            limit=body.most,
            offset=body.start,
        )
        return await self._runs.store.search_assistants(self._service.owner(request), search)


def _changed(known: Assistant, body: schema.AssistantChange) -> Assistant:
    """An assistant with the changes in a body. Raises TooBigError."""
    metadata = dict(body.metadata or {})
    metadata.pop("created_by", None)
    changed = msgspec.structs.replace(
        known,
        name=body.name or known.name,
        description=body.description or known.description,
        config=body.config or known.config,
        context=body.context or known.context,
        metadata={**known.metadata, **metadata},
    )
    if len(encode(_shown(changed))) > _LARGEST:
        raise TooBigError(f"an assistant may have at most {_LARGEST} bytes as JSON")
    return changed


_LARGEST = 64 << 10
"""The size limit of an assistant as JSON, in bytes: it stays in memory, and each token of its runs
carries its metadata."""

_EDGE = ("source", "target", "data", "conditional")
"""The only keys that RemoteGraph accepts."""


def _schemas(graph: Any) -> schema.Schemas:
    """JSON schemas of a graph's input, state and output; null where unknown."""
    builder = getattr(graph, "builder", None)
    return schema.Schemas(
        input_schema=_schema(graph, getattr(builder, "input_schema", None), "input"),
        output_schema=_schema(graph, getattr(builder, "output_schema", None), "output"),
        state_schema=_schema(graph, getattr(builder, "state_schema", None), None),
        config_schema=None,
        context_schema=_schema(graph, getattr(builder, "context_schema", None), None),
    )


def _schema(graph: Any, kind: Any, name: str | None) -> Any:
    try:
        if name is not None:
            return getattr(graph, f"get_{name}_jsonschema")()
        return TypeAdapter(kind).json_schema() if kind is not None else None
    except Exception as error:  # noqa: BLE001 - pydantic cannot describe the type as a whole
        _logger.info("no JSON schema for %s as a whole: %s", kind, error)
        return _by_field(kind)


def _by_field(kind: Any) -> Any:
    """A schema by field: pydantic does not accept ``typing.TypedDict`` before Python 3.12."""
    try:
        hints = get_type_hints(kind, include_extras=True)
    except (NameError, TypeError):
        return None
    properties: dict[str, Any] = {}
    for name, hint in hints.items():
        try:
            properties[name] = TypeAdapter(hint).json_schema()
        except Exception:  # noqa: BLE001 - pydantic cannot describe this field
            properties[name] = {"title": name}
    return {"title": getattr(kind, "__name__", ""), "type": "object", "properties": properties}


def _shown(known: Assistant) -> schema.Assistant:
    return schema.Assistant(
        assistant_id=known.id,
        graph_id=known.graph,
        config=known.config,
        context=known.context or {},
        metadata=known.metadata,
        name=known.name,
        description=known.description,
        version=known.version,
        created_at=known.created_at,
        updated_at=known.updated_at,
    )
