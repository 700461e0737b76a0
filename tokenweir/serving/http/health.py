"""Whether the server lives, what it is, and how busy: ``/ok``, ``/info``, ``/metrics``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tokenweir._version import __version__
from tokenweir.serving.http.endpoints import JSON, Operation, routes_of
from tokenweir.serving.running.records import FINAL
from tokenweir.serving.service import Service

__all__ = [
    "Health",
    "Info",
    "routes",
]


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


class _Health(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service
        self._started = time.monotonic()
        self._registry = CollectorRegistry()
        self._registry.register(self)

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
        form = CONTENT_TYPE_PLAIN_0_0_4
        return Response(generate_latest(self._registry), media_type=form)

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now: the registry asks for them."""
        runs = self._service.runs
        ended = Counter(run.status for run in runs.records.runs.all())
        kept = GaugeMetricFamily(
            "tokenweir_runs_kept", "Runs that are over and kept, by status.", labels=["status"]
        )
        for status in sorted(FINAL):
            kept.add_metric([status], ended[status])
        uptime = time.monotonic() - self._started
        active, waiting = runs.worker.active, runs.worker.waiting
        yield GaugeMetricFamily("tokenweir_runs_running", "Runs that run now.", active)
        yield GaugeMetricFamily("tokenweir_runs_waiting", "Runs that wait for their turn.", waiting)
        yield kept
        yield GaugeMetricFamily(
            "tokenweir_threads", "Threads that are kept.", len(runs.records.threads)
        )
        yield CounterMetricFamily(
            "tokenweir_events", "Events recorded by this process.", runs.events
        )
        yield GaugeMetricFamily("tokenweir_uptime_seconds", "Since this process serves.", uptime)


def _unwell(**more: Any) -> Response:
    return Response(msgspec.json.encode(Health(ok=False, **more)), 503, media_type=JSON)
