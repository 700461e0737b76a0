"""LangGraph's API, as ``langgraph_sdk``, ``RemoteGraph`` and the npm client speak it.

The routes are in three modules: assistants, threads, runs. Checked against langgraph-sdk 0.4.14 and
langgraph 1.2.22. Left out: crons, the store, webhooks, the mode ``events``, the newer event
protocol of ``threads.stream()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from tokenweir.serving import langgraph_assistants, langgraph_runs, langgraph_threads

if TYPE_CHECKING:
    from tokenweir.serving.app import Service

__all__ = ["routes"]


def routes(service: Service) -> list[BaseRoute]:
    """The routes of LangGraph's API."""
    return [
        *langgraph_assistants.routes(service),
        *langgraph_runs.routes(service),
        *langgraph_threads.routes(service),
    ]
