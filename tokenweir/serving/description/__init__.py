"""The API description in OpenAPI 3.1: all routes with requests, responses and errors.

It is made from the routes and from the types that they decode and encode; see ``http/endpoints``.
It names no graphs, so it is the same for every server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.responses import Response
from starlette.routing import BaseRoute

from tokenweir._version import __version__
from tokenweir.serving.fields import said
from tokenweir.serving.http.endpoints import JSON, Endpoint
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.http.guard import needs_no_key
from tokenweir.serving.http.refusals import OPENAI, OpenAIProblem, Problem

__all__ = [
    "Event",
    "describe",
]

Schema = dict[str, Any]
_EVENTS = "text/event-stream"

_TAGS = {
    "Runs": "LangGraph's API, for `langgraph_sdk`, `RemoteGraph` and the npm client.",
    "Store": "LangGraph's API: the key-value store of graphs.",
    "Threads": "LangGraph's API: conversations, their states and histories.",
    "Assistants": "LangGraph's API: graphs with a config.",
    "Event protocol": "LangGraph's newer protocol, for `client.threads.stream()`, "
    '`RemoteGraph.stream_events(version="v3")` and `@langchain/react`: one stream of typed events '
    "per thread, and commands beside it.",
    "OpenAI": "OpenAI's chat protocol, for the `openai` SDK and what is built on it: each graph "
    "is a model.",
    "AG-UI": "For `@ag-ui/client` and CopilotKit: each graph is an agent.",
    "AI SDK": "For `useChat` of Vercel's AI SDK: a chat is a thread.",
    "Plain server-sent events": "For `curl -N`, the browser's `EventSource`, and `client.js`.",
    "Server": "Health, and this description.",
    "Page": "The page for users.",
}

_IN_PATHS = {
    "assistant_id": "An assistant's id, or a graph's name.",
    "thread_id": "A thread's id.",
    "run_id": "A run's id.",
    "checkpoint_id": "A checkpoint's id.",
    "namespace": "A subgraph's namespace.",
    "chat": "A chat's id.",
    "name": "A name.",
    "id": "An id.",
}

_PROBLEMS = {
    400: "The request is invalid.",
    401: "An API key is needed.",
    403: "Pages of this origin may not call, or the host is not this machine.",
    404: "It does not exist, or belongs to another key.",
    408: "The body is incomplete.",
    409: "It exists already, or is busy.",
    413: "The body is too large.",
    422: "The request is invalid.",
    429: "Too many runs of this key are waiting for their time.",
    500: "The run failed.",
    503: "Too many runs are waiting, or the server is stopping. Try again later.",
}

_KEYS = {
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}


class Event(Struct):
    """One server-sent event. A stream consists of such events."""

    data: Annotated[str, said("A JSON document.")]
    event: Annotated[str | UnsetType, said("The kind of the event.")] = UNSET
    id: Annotated[str | UnsetType, said("The id to continue after.")] = UNSET


def describe(routes: Iterable[BaseRoute], *, keys: bool) -> dict[str, Any]:
    """The OpenAPI document.

    Args:
        routes: The server's routes; those that are not an ``Endpoint`` are left out.
        keys: Whether requests must carry an API key.
    """
    shared = _Shared()
    paths: dict[str, dict[str, Schema]] = {}
    for route in routes:
        if isinstance(route, Endpoint):
            path = re.sub(r":\w+}", "}", route.path)
            method = route.operation.method.lower()
            paths.setdefault(path, {})[method] = _operation(route, path, method, shared)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tokenweir",
            "version": __version__,
            "description": "Graphs over HTTP: streams the tokens of their models as they come.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": said} for name, said in _TAGS.items()],
        "security": [{name: []} for name in _KEYS] if keys else [],
        "paths": paths,
        "components": {
            "securitySchemes": _KEYS,
            "responses": {
                f"{shape}{status}": {"description": said, "content": {JSON: {"schema": schema}}}
                for shape, kind in (("", Problem), ("OpenAI", OpenAIProblem))
                for schema in [shared.schema(kind)]
                for status, said in _PROBLEMS.items()
            },
            "schemas": shared.schemas,
        },
    }


class _Shared:
    """The schemas that are referred to by name."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}

    def schema(self, kind: Any) -> Schema:
        """The schema of a type; for a class, a reference to it."""
        [found], named = msgspec.json.schema_components(
            [kind], ref_template="#/components/schemas/{name}"
        )
        for name, schema in named.items():
            assert self.schemas.setdefault(name, schema) == schema, f"two types are called {name}"
        return found

    def named(self, reference: Schema) -> Schema:
        """The schema that a reference names."""
        return self.schemas[reference["$ref"].rpartition("/")[2]]


def _operation(route: Endpoint, path: str, method: str, shared: _Shared) -> Schema:
    operation, takes = route.operation, route.takes
    summary, _, rest = route.doc.partition("\n\n")
    words = re.findall(r"\w+", path)
    made: Schema = {
        "tags": [route.tag],
        "summary": " ".join(summary.split()),
        "operationId": "_".join([method, *words]) if words else f"{method}_root",
    }
    if rest:
        made["description"] = " ".join(rest.split())
    if needs_no_key(path):
        made["security"] = []
    if parameters := list(_parameters(route, path)):
        made["parameters"] = parameters
    if "body" in takes:
        schema = shared.schema(takes["body"])
        content = {"schema": schema}
        if operation.example is not None:
            content["example"] = operation.example
        required = schema.get("type") == "array" or bool(shared.named(schema)["required"])
        made["requestBody"] = {"required": required, "content": {JSON: content}}
    made["responses"] = _responses(route, path, shared)
    return made


def _parameters(route: Endpoint, path: str) -> Iterator[Schema]:
    for name in re.findall(r"{(\w+)}", path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": _IN_PATHS[name],
            "schema": {"type": "string"},
        }
    for place, where in (("query", "query"), ("headers", "header")):
        if place in route.takes:
            schema = msgspec.json.schema(route.takes[place])
            [struct] = schema.pop("$defs").values()
            for name, each in struct["properties"].items():
                about = {"description": each.pop("description")} if "description" in each else {}
                yield {"name": name, "in": where, "schema": each, **about}


def _responses(route: Endpoint, path: str, shared: _Shared) -> Schema:
    operation = route.operation
    options = [
        kind
        for kind in (get_args(route.gives) if _is_union(route.gives) else [route.gives])
        if kind is not NoneType and not (isinstance(kind, type) and issubclass(kind, Response))
    ]
    content: Schema = {}
    if EventStream in options:
        content[_EVENTS] = {"schema": shared.schema(Event)}
    if schemas := [shared.schema(kind) for kind in options if kind is not EventStream]:
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        content |= {kind: {"schema": schema} for kind in operation.kinds}
    status = 200 if content else 204
    made: Schema = {"description": HTTPStatus(status).phrase}
    if operation.sets:
        made["headers"] = {
            name: {"description": said, "schema": {"type": "string"}}
            for name, said in operation.sets.items()
        }
    if content:
        made["content"] = content
    responses = {str(status): made}
    responses |= {str(code): {"description": said} for code, said in operation.also.items()}
    shape = "OpenAI" if path.startswith(OPENAI) else ""
    for code in sorted(_refusals(route, path)):
        common = {"$ref": f"#/components/responses/{shape}{code}"}
        responses.setdefault(str(code), common)
    return responses


def _refusals(route: Endpoint, path: str) -> set[int]:
    """The error statuses of an operation."""
    found = {403, 413}
    if not needs_no_key(path):
        found.add(401)
    if "body" in route.takes:
        found.add(408)
    if route.operation.refuses is not None:
        return found | set(route.operation.refuses)
    if "{" in path:
        found.add(404)
    if route.takes:
        found.add(422)
    return found


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)
