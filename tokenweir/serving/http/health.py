"""Whether the server lives, what it is, and how busy: ``/ok``, ``/info``, ``/metrics``."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from tokenweir._version import __version__
from tokenweir.serving.http.endpoints import JSON, Operation, routes_of
from tokenweir.serving.running.records import FINAL
from tokenweir.serving.service import Service

__all__ = ["routes"]


class Health(Struct, kw_only=True):
    """Whether the server lives, and if not, why."""

    ok: bool
    stopping: bool | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class Info(Struct, kw_only=True):
    """Name, version, graphs, and what LangGraph's clients ask for."""

    name: str = "tokenweir"
    version: str = __version__
    graphs: list[str]
    flags: dict[str, bool]


def routes(service: Service) -> list[BaseRoute]:
    """The routes of this module."""
    return routes_of(_Health(service), "Server")


class _Health:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._started = time.monotonic()

    @Operation("GET", "/ok", also={503: "It is stopping, or cannot write."})
    async def ok(self, request: Request) -> Health | Response:
        """Say whether the server lives."""
        runs = self._service.started
        if runs is None:
            return _unwell(detail="the server has not started")
        if runs.worker.stopping:
            return _unwell(stopping=True)
        if runs.log.problem is not None:
            return _unwell(detail="the event log cannot be written")
        return Health(ok=True)

    @Operation("GET", "/info")
    async def info(self, request: Request) -> Info:
        """Say what the server is."""
        flags = {"assistants": True, "crons": False, "langsmith": False}
        return Info(graphs=list(self._service.runs.graphs), flags=flags)

    @Operation("GET", "/metrics", gives=str, kinds=["text/plain"])
    async def metrics(self, request: Request) -> Response:
        """Say how busy the server is, for Prometheus."""
        runs = self._service.runs
        ended = Counter(run.status for run in runs.records.runs.all())
        lines = [
            "# HELP tokenweir_runs_running Runs that run now.",
            "# TYPE tokenweir_runs_running gauge",
            f"tokenweir_runs_running {runs.worker.active}",
            "# HELP tokenweir_runs_waiting Runs that wait for their turn.",
            "# TYPE tokenweir_runs_waiting gauge",
            f"tokenweir_runs_waiting {runs.worker.waiting}",
            "# HELP tokenweir_runs_kept Runs that are over and kept, by status.",
            "# TYPE tokenweir_runs_kept gauge",
            *(f'tokenweir_runs_kept{{status="{name}"}} {ended[name]}' for name in sorted(FINAL)),
            "# HELP tokenweir_threads Threads that are kept.",
            "# TYPE tokenweir_threads gauge",
            f"tokenweir_threads {len(runs.records.threads)}",
            "# HELP tokenweir_events_total Events recorded by this process.",
            "# TYPE tokenweir_events_total counter",
            f"tokenweir_events_total {runs.events}",
            "# HELP tokenweir_uptime_seconds Since this process serves.",
            "# TYPE tokenweir_uptime_seconds gauge",
            f"tokenweir_uptime_seconds {time.monotonic() - self._started:.3f}",
        ]
        text = "\n".join(lines) + "\n"
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _unwell(**more: Any) -> Response:
    return Response(msgspec.json.encode(Health(ok=False, **more)), 503, media_type=JSON)
