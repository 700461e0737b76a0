"""The application: graphs, keys and limits put together, and the routes of all protocols.

``create_app`` gives an ASGI application for any server; ``tokenweir serve`` runs it with uvicorn.
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
"""The modules of this room that speak to clients: each has ``routes(service)``."""

_logger = logging.getLogger("tokenweir.serving")

_NOT_IN_NAMES = "/\\:?#%"
"""Servers and proxies decode %2F before they look for the route, browsers take \\ for /, and some
clients put a name into a URL as it is."""

_EXPOSED = ["Content-Location", "Location", "X-Pagination-Total", "X-Pagination-Next"]
"""What pages of other origins may read of an answer's headers."""

_SWEEP = 60.0
"""Seconds between looks for what need not be kept any more."""


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
        home: Opens where runs are kept, when the server starts (``data_folder(path, graphs)``);
            in memory if None.
        keys: API keys; a request must carry one of them, and sees only what was made with it. No
            keys: everybody may do everything.
        cors: Origins (``https://app.example``) whose pages may call; ``*`` for all. None unless
            told.
        limits: What the server takes on.
        local: Answer only requests for a loopback host, so that no page can reach the server by
            having its own name resolve to this machine. Not with keys, which protect better.
        guards: What no reader and no state gets (``tokenweir.guard``), of all graphs. What a guard
            forbids ends the run, as an error; or in its replacement, with which the answer ends.

    Returns:
        The application. Runs left unfinished are taken up when its lifespan starts; when it ends,
        the running ones may finish for ``limits.drain_seconds``. An application that mounts this
        one, at whatever path, must run this lifespan: ``app.router.lifespan_context``.

    Raises:
        EmptyKeyError: If one of the keys has no character.
        GraphNameError: If a graph's name cannot be part of a URL.
        TypeError: If a guard's function is asynchronous.
    """
    _check_names(graphs)
    stops = check_guards(guards)
    limits, keys, origins = limits or Limits(), list(keys), list(cors)
    if not all(key.strip() for key in keys):
        raise EmptyKeyError("an API key is empty; leave it out, or say what it is")

    service = Service(limits, keyed=bool(keys))

    @contextlib.asynccontextmanager
    async def lifespan(outermost: Any) -> AsyncIterator[None]:
        """``outermost`` is the application that is served, which may only have this one mounted."""
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
    """The routes of all protocols, and of their description."""
    routes = [route for protocol in _PROTOCOLS for route in protocol.routes(service)]
    return [*routes, *docs_page.routes(service, routes)]


def _check_names(graphs: Iterable[str]) -> None:
    for name in graphs:
        if name in ("", ".", "..") or not name.isprintable() or set(name) & set(_NOT_IN_NAMES):
            raise GraphNameError(
                f"a graph cannot be called {name!r}: the name stands in URLs, and in GRAPH:TAG. "
                f"Call it without {' '.join(_NOT_IN_NAMES)} and what cannot be seen: "
                "name=my_graph.py:graph, or another key in langgraph.json."
            )


async def _sweep(runs: Runs) -> None:
    while True:
        try:
            await sweep(runs)
        except Exception as error:  # a full disk, say: the next time it may go
            _logger.error("what is old could not be removed", exc_info=error)
        await asyncio.sleep(_SWEEP)


async def _as_json(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = body_of(route_path(request.scope), error.status_code, str(error.detail))
    return JSONResponse(body, error.status_code, headers=dict(error.headers or {}))
