"""Assistants on LangGraph's API: each graph has one, under a fixed id and under its name."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, get_type_hints

import msgspec
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tokenweir.serving.http.bodies import choice, field, number, read_body
from tokenweir.serving.langgraph.states import names_of
from tokenweir.serving.problems import (
    ConflictError,
    InvalidError,
    NotFoundError,
    TooBigError,
)
from tokenweir.serving.running.configs import check_config
from tokenweir.serving.running.encoding import encode
from tokenweir.serving.running.ids import check_id, new_id
from tokenweir.serving.running.records import Assistant, Table
from tokenweir.serving.running.runs import Runs
from tokenweir.serving.service import Service

__all__ = ["routes"]

_logger = logging.getLogger("tokenweir.serving")


def routes(service: Service) -> list[BaseRoute]:
    """The routes of assistants."""
    handlers = _Handlers(service)
    one = "/assistants/{assistant_id}"
    return [
        Route("/assistants", handlers.create, methods=["POST"]),
        Route("/assistants/search", handlers.search, methods=["POST"]),
        Route("/assistants/count", handlers.count, methods=["POST"]),
        Route(one, handlers.get, methods=["GET"]),
        Route(one, handlers.update, methods=["PATCH"]),
        Route(one, handlers.delete, methods=["DELETE"]),
        Route(f"{one}/graph", handlers.graph, methods=["GET"]),
        Route(f"{one}/schemas", handlers.schemas, methods=["GET"]),
        Route(f"{one}/subgraphs", handlers.subgraphs, methods=["GET"]),
        Route(f"{one}/subgraphs/{{namespace:path}}", handlers.subgraphs, methods=["GET"]),
    ]


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def _runs(self) -> Runs:
        return self._service.runs

    @property
    def _table(self) -> Table[Assistant]:
        return self._runs.records.assistants

    async def search(self, request: Request) -> Response:
        body = await read_body(request)
        found = self._found(request, body)
        offset, limit = number(body, "offset", 0, 1 << 40), number(body, "limit", 10)
        headers = {"X-Pagination-Total": str(len(found))}
        if offset + limit < len(found):
            headers["X-Pagination-Next"] = str(offset + limit)
        page = [_assistant(each) for each in found[offset : offset + limit]]
        if select := names_of(body):
            page = [{name: each[name] for name in select if name in each} for each in page]
        return Response(encode(page), media_type="application/json", headers=headers)

    async def count(self, request: Request) -> Response:
        return JSONResponse(len(self._found(request, await read_body(request))))

    async def get(self, request: Request) -> Response:
        return _json(_assistant(self._assistant(request)))

    async def create(self, request: Request) -> Response:
        body = await read_body(request)
        graph = field(body, "graph_id", str)
        if graph is None or graph not in self._runs.graphs:
            there = ", ".join(self._runs.graphs)
            raise NotFoundError(f"there is no graph {graph!r}; graphs here: {there}")
        owner = self._service.owner(request)
        wanted = field(body, "assistant_id", str) or new_id()
        check_id("assistant_id", wanted)
        keeps = choice(body, "if_exists", "raise", "do_nothing") == "do_nothing"
        if (known := self._table.get(wanted)) is not None:
            if not keeps or known.owner != owner:
                raise ConflictError(f"there is an assistant {wanted} already")
            return _json(_assistant(known))
        made = _changed(Assistant(id=wanted, graph=graph, owner=owner, name=graph), body)
        most = self._service.limits.assistants
        if sum(each.owner == owner and not _is_own(each) for each in self._table.all()) >= most:
            raise ConflictError(f"there are {most} assistants already; delete one first")
        return _json(_assistant(self._table.save(made)))

    async def update(self, request: Request) -> Response:
        body = await read_body(request)
        changed = _changed(self._own(request), body)
        changed.version += 1
        return _json(_assistant(self._table.save(changed)))

    async def delete(self, request: Request) -> Response:
        self._table.remove(self._own(request).id)
        return Response(status_code=204)

    async def graph(self, request: Request) -> Response:
        graph = self._graph(request)
        xray = request.query_params.get("xray", "false").lower()
        depth: bool | int = int(xray) if xray.isdecimal() and len(xray) < 4 else xray == "true"
        drawn = (await graph.aget_graph(xray=depth)).to_json()
        edges = [
            {name: edge[name] for name in _EDGE if edge.get(name) is not None}
            for edge in drawn["edges"]
        ]
        return _json({"nodes": drawn["nodes"], "edges": edges})

    async def schemas(self, request: Request) -> Response:
        graph = self._graph(request)
        found = await asyncio.to_thread(_schemas, graph)
        return _json({"graph_id": self._assistant(request).graph, **found})

    async def subgraphs(self, request: Request) -> Response:
        graph = self._graph(request)
        recurse = request.query_params.get("recurse", "false").lower() == "true"
        namespace = request.path_params.get("namespace")
        below = graph.get_subgraphs(namespace=namespace, recurse=recurse)
        return _json({name: _schemas(each) for name, each in below})

    # Inside

    def _assistant(self, request: Request) -> Assistant:
        name = request.path_params["assistant_id"]
        return self._runs.assistant(name, self._service.owner(request))

    def _own(self, request: Request) -> Assistant:
        known = self._assistant(request)
        if _is_own(known):
            raise InvalidError("a graph's own assistant cannot be changed; create another")
        return known

    def _graph(self, request: Request) -> Any:
        return self._runs.graphs[self._assistant(request).graph]

    def _found(self, request: Request, body: dict[str, Any]) -> list[Assistant]:
        owner = self._service.owner(request)
        graph, name = field(body, "graph_id", str), field(body, "name", str)
        metadata = field(body, "metadata", dict) or {}
        found = [
            each
            for each in self._table.all()
            if each.owner in ("", owner)
            and each.graph in self._runs.graphs
            and graph in (None, each.graph)
            and (name is None or name.lower() in each.name.lower())
            and all(each.metadata.get(key) == value for key, value in metadata.items())
        ]
        by = body.get("sort_by")
        if by in ("created_at", "updated_at", "name"):
            found.sort(key=lambda each: str(getattr(each, by)))
        if body.get("sort_order") == "desc":
            found.reverse()
        return found


def _changed(known: Assistant, body: dict[str, Any]) -> Assistant:
    """An assistant with what a body says. Raises InvalidError, or TooBigError."""
    config = field(body, "config", dict) or {}
    check_config(config)
    metadata = dict(field(body, "metadata", dict) or {})
    metadata.pop("created_by", None)
    changed = msgspec.structs.replace(
        known,
        name=field(body, "name", str) or known.name,
        description=field(body, "description", str) or known.description,
        config=config or known.config,
        context=body.get("context") or known.context,
        metadata={**known.metadata, **metadata},
    )
    if len(encode(_assistant(changed))) > _LARGEST:
        raise TooBigError(f"an assistant has at most {_LARGEST} bytes")
    return changed


def _is_own(known: Assistant) -> bool:
    """Whether it is a graph's own, and no client's."""
    return known.metadata.get("created_by") == "system"


_LARGEST = 64 << 10
"""Bytes of an assistant as JSON: it stays in memory, and its metadata is part of every token's."""

_EDGE = ("source", "target", "data", "conditional")
"""The only keys that RemoteGraph takes."""


def _schemas(graph: Any) -> dict[str, Any]:
    """JSON schemas of what a graph takes and gives; null where there is none, or none to be had."""
    builder = getattr(graph, "builder", None)
    return {
        "input_schema": _schema(graph, getattr(builder, "input_schema", None), "input"),
        "output_schema": _schema(graph, getattr(builder, "output_schema", None), "output"),
        "state_schema": _schema(graph, getattr(builder, "state_schema", None), None),
        "config_schema": None,
        "context_schema": _schema(graph, getattr(builder, "context_schema", None), None),
    }


def _schema(graph: Any, kind: Any, name: str | None) -> Any:
    try:
        if name is not None:
            return getattr(graph, f"get_{name}_jsonschema")()
        return TypeAdapter(kind).json_schema() if kind is not None else None
    except Exception as error:  # noqa: BLE001 - a type that pydantic cannot describe as a whole
        _logger.info("the schema of %s: %s", kind, error)
        return _by_field(kind)


def _by_field(kind: Any) -> Any:
    """A schema made field by field: pydantic takes no ``typing.TypedDict`` before Python 3.12."""
    try:
        hints = get_type_hints(kind, include_extras=True)
    except (NameError, TypeError):
        return None
    properties: dict[str, Any] = {}
    for name, hint in hints.items():
        try:
            properties[name] = TypeAdapter(hint).json_schema()
        except Exception:  # noqa: BLE001 - as above, of one field
            properties[name] = {"title": name}
    return {"title": getattr(kind, "__name__", ""), "type": "object", "properties": properties}


def _assistant(known: Assistant) -> dict[str, Any]:
    return {
        "assistant_id": known.id,
        "graph_id": known.graph,
        "config": known.config,
        "context": known.context or {},
        "metadata": known.metadata,
        "name": known.name,
        "description": known.description,
        "version": known.version,
        "created_at": known.created_at,
        "updated_at": known.updated_at,
    }


def _json(value: Any) -> Response:
    return Response(encode(value), media_type="application/json")
