"""Routes that describe themselves: path, types and summary are in one place.

A handler is a method of a class, and its docstring is the operation's summary::

    @Operation("POST", "/threads/search", sets=PAGES)
    async def search(self, request: Request, body: ThreadSearch) -> list[Thread]:
        '''List threads.'''

The request is decoded into the types of the parameters ``body``, ``query`` and ``headers`` before
the handler is called; a request that does not fit is refused. The handler's result is encoded as
JSON; None becomes an answer without a body (204), and a response is sent as it is. The OpenAPI
description is made from the same types.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tokenweir.serving.http.bodies import read_body, read_parameters
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.running.encoding import encode

__all__ = ["JSON", "Endpoint", "Operation", "routes_of"]

JSON = "application/json"

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True)
class Operation:
    """What a handler does, as a decorator; a handler may have several.

    Attributes:
        method: ``GET``, ``POST``, ``PATCH`` or ``DELETE``.
        path: The path, as for Starlette's routes.
        gives: The type of the answer, if the handler's annotation does not give it.
        kinds: The answer's content types.
        sets: The answer's headers, with descriptions.
        also: Further statuses of answers without a body, with descriptions.
        refuses: Statuses of errors, in addition to those of every operation. By default, 404 if
            the path has parameters, and 422 if something is decoded.
        example: A valid body, for readers.
    """

    method: str
    path: str
    gives: Any = ...
    kinds: Sequence[str] = (JSON,)
    sets: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[int, str] = field(default_factory=dict)
    refuses: Sequence[int] | None = None
    example: Any = None

    def __call__(self, handler: F) -> F:
        handler.__dict__.setdefault("operations", []).append(self)
        return handler


class Endpoint(Route):
    """A route for an operation.

    Attributes:
        operation: The operation.
        tag: The section of the description.
        doc: The handler's docstring.
        takes: The types of ``body``, ``query`` and ``headers``, if the handler has them.
        gives: The type of the answer.
    """

    def __init__(
        self, operation: Operation, handler: Callable[..., Awaitable[Any]], tag: str
    ) -> None:
        self.operation, self.tag, self.doc = operation, tag, handler.__doc__ or ""
        hints = get_type_hints(handler, include_extras=True)
        self.gives = hints["return"] if operation.gives is ... else operation.gives
        self.takes = {name: hints[name] for name in ("query", "headers", "body") if name in hints}
        takes = self.takes

        async def call(request: Request) -> Any:
            given: dict[str, Any] = {}
            if "query" in takes:
                given["query"] = read_parameters(request.query_params, takes["query"])
            if "headers" in takes:
                given["headers"] = read_parameters(request.headers, takes["headers"])
            if "body" in takes:
                given["body"] = await read_body(request, takes["body"])
            answer = await handler(request, **given)
            if answer is None:
                return Response(status_code=204)
            if isinstance(answer, (Response, EventStream)):
                return answer
            return Response(encode(answer), media_type=JSON)

        super().__init__(operation.path, call, methods=[operation.method])


def routes_of(room: object, tag: str) -> list[BaseRoute]:
    """The routes of an object's handlers, in the order in which they are written."""
    return [
        Endpoint(operation, getattr(room, name), tag)
        for name, method in vars(type(room)).items()
        for operation in reversed(getattr(method, "operations", ()))
    ]
