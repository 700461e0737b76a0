"""LangGraph's API, as used by ``langgraph_sdk``, ``RemoteGraph`` and the npm client.

The routes are in five modules: assistants, threads, threads' streams, runs, items. Checked against
langgraph-sdk 0.4.14 and langgraph 1.2.22. Crons, webhooks and versions of assistants are not
offered.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tokenweir.serving.langgraph import assistants, items, runs, thread_stream, threads
from tokenweir.serving.problems import NotFoundError
from tokenweir.serving.service import Service

__all__ = ["routes"]


def routes(service: Service) -> list[BaseRoute]:
    """The routes of LangGraph's API."""
    return [
        *(_not_offered(path, what) for path, what in _NOT_OFFERED.items()),
        *assistants.routes(service),
        *runs.routes(service),
        *threads.routes(service),
        *items.routes(service),
        *thread_stream.routes(service),
    ]


_NOT_OFFERED = {
    "/runs/crons": "crons; let a scheduler of your own start runs",
    "/runs/crons/{rest:path}": "crons; let a scheduler of your own start runs",
    "/threads/{thread_id}/runs/crons": "crons; let a scheduler of your own start runs",
    "/assistants/{assistant_id}/versions": "versions of assistants; create another assistant",
    "/assistants/{assistant_id}/latest": "versions of assistants; create another assistant",
}
"""Features of LangGraph's clients that are missing here. They are answered with 404, as clients
retry after 5xx."""


_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def _not_offered(path: str, what: str) -> Route:
    async def refuse(request: Request) -> Response:
        raise NotFoundError(f"this server does not offer {what}")

    return Route(path, refuse, methods=_METHODS, include_in_schema=False)
