"""The application: combines graphs, keys and limits with the routes of all protocols.

``create_app`` makes an ASGI application for any server; ``tokenweir serve`` runs it with uvicorn.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from tokenweir.serving import docs_page, page
from tokenweir.serving.agui import protocol as agui_protocol
from tokenweir.serving.ai_sdk import protocol as ai_sdk_protocol
from tokenweir.serving.event_protocol import protocol as event_protocol
from tokenweir.serving.http import health
from tokenweir.serving.http.guard import Guard
from tokenweir.serving.http.paths import route_path
from tokenweir.serving.http.refusals import body_of
from tokenweir.serving.langgraph import protocol as langgraph_protocol
from tokenweir.serving.openai import protocol as openai_protocol
from tokenweir.serving.problems import EmptyKeyError, GraphNameError, Limits
from tokenweir.serving.running.guarding import check_guards
from tokenweir.serving.running.home import Home, in_memory
from tokenweir.serving.running.retention import sweep
from tokenweir.serving.running.runs import Runs
from tokenweir.serving.service import Service
from tokenweir.serving.sse import protocol as sse_protocol
from tokenweir.streaming import guard as text_guard

__all__ = ["create_app", "protocol_routes"]

_PROTOCOLS = (
    health,
    event_protocol,
    langgraph_protocol,
    openai_protocol,
    agui_protocol,
    ai_sdk_protocol,
    sse_protocol,
    page,
)
"""The modules with routes for clients: each has ``routes(service)``."""

_logger = logging.getLogger("tokenweir.serving")

_NOT_IN_NAMES = "/\\:?#%"
"""Servers and proxies decode %2F before they match routes, browsers treat \\ as /, and some clients
put names into URLs without escaping them."""

_EXPOSED = ["Content-Location", "Location", "X-Pagination-Total", "X-Pagination-Next"]
"""The response headers that pages of other origins may read."""

_SWEEP = 60.0
"""Seconds between sweeps of old runs and threads."""


def create_app(
    graphs: Mapping[str, Any],
    *,
    home: Callable[[], contextlib.AbstractAsyncContextManager[Home]] | None = None,
    keys: Iterable[str] = (),
    cors: Iterable[str] = (),
    limits: Limits | None = None,
    local: bool = False,
    guards: Iterable[text_guard.Guard] = (),
) -> Starlette:
    """The ASGI application.

    Args:
        graphs: The graphs by name. Each gets the server's checkpointer in place of its own.
        home: Opens the storage when the server starts (``data_folder(path, graphs)``); in memory
            if None.
        keys: API keys. A request must carry one of them, and sees only what was created with it.
            Without keys, all requests may do everything.
        cors: Origins (``https://app.example``) whose pages may call; ``*`` for all. None by
            default.
        limits: The limits of the server.
        local: Answer only requests for a loopback host, so that no page can reach the server by
            a host name that resolves to this machine. Has no use with keys, which protect better.
        guards: Forbid texts in all graphs (``tokenweir.guard``); no reader and no state gets
            them. A forbidden text ends the run with an error, or ends the answer with a
            replacement.

    Returns:
        The application. When its lifespan starts, unfinished runs are resumed; when it ends,
        running ones may finish for ``limits.drain_seconds``. An application that mounts this
        one, at any path, must run this lifespan: ``app.router.lifespan_context``.

    Raises:
        EmptyKeyError: If a key is empty.
        GraphNameError: If a graph's name cannot be part of a URL.
        TypeError: If a guard's function is asynchronous.
    """
    _check_names(graphs)
    stops = check_guards(guards)
    limits, keys, origins = limits or Limits(), list(keys), list(cors)
    if not all(key.strip() for key in keys):
        raise EmptyKeyError("an API key is empty; leave it out, or give its text")

    service = Service(limits, keyed=bool(keys))

    @contextlib.asynccontextmanager
    async def lifespan(outermost: Any) -> AsyncIterator[None]:
        """``outermost`` is the served application, which may be another one that mounts this."""
        async with (home or in_memory)() as kept, Runs(graphs, kept, limits, stops) as runs:
            service.started = runs
            sweeping = asyncio.ensure_future(_sweep(runs))
            try:
                yield
            finally:
                await runs.worker.drain()
                service.started = None
                sweeping.cancel()
                await asyncio.wait({sweeping})

    app = Starlette(
        routes=protocol_routes(service),
        lifespan=lifespan,
        exception_handlers={HTTPException: _as_json},
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=_EXPOSED,
            ),
            Middleware(Guard, keys=keys, cors=origins, limits=limits, local=local),
        ],
    )
    app.state.service = service
    return app


def protocol_routes(service: Service) -> list[BaseRoute]:
    """The routes of all protocols, and of the API description."""
    routes = [route for protocol in _PROTOCOLS for route in protocol.routes(service)]
    return [*routes, *docs_page.routes(service, routes)]


def _check_names(graphs: Iterable[str]) -> None:
    for name in graphs:
        if name in ("", ".", "..") or not name.isprintable() or set(name) & set(_NOT_IN_NAMES):
            raise GraphNameError(
                f"a graph cannot be called {name!r}, as names are part of URLs and of GRAPH:TAG. "
                f"Use a name without {' '.join(_NOT_IN_NAMES)} and invisible characters: "
                "name=my_graph.py:graph, or another key in langgraph.json."
            )


async def _sweep(runs: Runs) -> None:
    while True:
        try:
            await sweep(runs)
        except Exception as error:  # such as a full disk: try again next time
            _logger.error("old runs and threads could not be deleted", exc_info=error)
        await asyncio.sleep(_SWEEP)


async def _as_json(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = body_of(route_path(request.scope), error.status_code, str(error.detail))
    return JSONResponse(body, error.status_code, headers=dict(error.headers or {}))
