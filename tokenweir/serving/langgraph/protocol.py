"""LangGraph's API, as ``langgraph_sdk``, ``RemoteGraph`` and the npm client speak it.

The routes are in five modules: assistants, threads, threads' streams, runs, items. Checked against
langgraph-sdk 0.4.14 and langgraph 1.2.22. Not offered: crons, webhooks, versions of assistants.
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
    "/runs/crons": "crons; have a scheduler of yours start runs",
    "/runs/crons/{rest:path}": "crons; have a scheduler of yours start runs",
    "/threads/{thread_id}/runs/crons": "crons; have a scheduler of yours start runs",
    "/assistants/{assistant_id}/versions": "versions of assistants; create another assistant",
    "/assistants/{assistant_id}/latest": "versions of assistants; create another assistant",
}
"""What LangGraph's clients can ask for that is not there. Answered with 404: clients try what is
answered with 5xx again and again."""


_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def _not_offered(path: str, what: str) -> Route:
    async def refuse(request: Request) -> Response:
        raise NotFoundError(f"this server does not offer {what}")

    return Route(path, refuse, methods=_METHODS, include_in_schema=False)
