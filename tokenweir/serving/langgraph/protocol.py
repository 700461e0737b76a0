"""LangGraph's API, as ``langgraph_sdk``, ``RemoteGraph`` and the npm client speak it.

The routes are in three modules: assistants, threads, runs. Checked against langgraph-sdk 0.4.14 and
langgraph 1.2.22. Not offered: crons, the store, webhooks, versions of assistants, the mode
``events``, the newer event protocol of ``threads.stream()``.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tokenweir.serving.langgraph import assistants, runs, threads
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
    ]


_NOT_OFFERED = {
    "/store/{rest:path}": "a store; keep what has to last in the graph's state",
    "/runs/crons": "crons; have a scheduler of yours start runs",
    "/runs/crons/{rest:path}": "crons; have a scheduler of yours start runs",
    "/threads/{thread_id}/runs/crons": "crons; have a scheduler of yours start runs",
    "/threads/{thread_id}/stream": "streams of a thread; join the stream of a run",
    "/threads/{thread_id}/stream/events": "threads.stream(); use runs.stream()",
    "/threads/{thread_id}/commands": "threads.stream(); use runs.stream()",
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
