"""The server's health, name and load: ``/ok``, ``/info``, ``/metrics``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tokenweir._version import __version__
from tokenweir.serving.http.endpoints import JSON, Operation, routes_of
from tokenweir.serving.running.records import FINAL
from tokenweir.serving.running.store import Counts as Kept
from tokenweir.serving.running.timing import Histogram
from tokenweir.serving.running.usage import Caller, Counts
from tokenweir.serving.service import Service

__all__ = [
    "Health",
    "Info",
    "routes",
]


class Health(Struct, kw_only=True):
    """Whether the server is healthy, and if not, why."""

    ok: bool
    stopping: bool | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class Info(Struct, kw_only=True):
    """Name, version, graphs, and the flags that LangGraph's clients read."""

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
        self._counts = Kept({}, 0, 0)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    @Operation("GET", "/ok", also={503: "The server is stopping, or cannot write."})
    async def ok(self, request: Request) -> Health | Response:
        """Report whether the server is healthy."""
        runs = self._service.started
        if runs is None:
            return _unwell(detail="the server has not started")
        if runs.worker.stopping:
            return _unwell(stopping=True)
        if runs.log.problem is not None:
            return _unwell(detail="the event log cannot be written")
        if runs.worker.problem is not None:
            return _unwell(detail=runs.worker.problem)
        return Health(ok=True)

    @Operation("GET", "/info")
    async def info(self, request: Request) -> Info:
        """Report the server's name, version and graphs."""
        flags = {"assistants": True, "crons": False, "langsmith": False}
        return Info(graphs=list(self._service.runs.graphs), flags=flags)

    @Operation("GET", "/metrics", gives=str, kinds=["text/plain"])
    async def metrics(self, request: Request) -> Response:
        """Report the server's load, for Prometheus."""
        self._counts = await self._service.runs.store.counts()
        form = CONTENT_TYPE_PLAIN_0_0_4
        return Response(generate_latest(self._registry), media_type=form)

    def collect(self) -> Iterator[Metric]:
        """The current metrics; called by the registry."""
        runs = self._service.runs
        counts = self._counts
        kept = GaugeMetricFamily(
            "tokenweir_runs_kept", "Ended runs that are kept, by status.", labels=["status"]
        )
        for status in sorted(FINAL):
            kept.add_metric([status], counts.runs.get(status, 0))
        uptime = time.monotonic() - self._started
        active = runs.worker.active
        yield GaugeMetricFamily("tokenweir_runs_running", "Running runs.", active)
        yield GaugeMetricFamily(
            "tokenweir_runs_waiting", "Runs waiting for their turn.", counts.waiting
        )
        yield kept
        if counts.servers is not None:
            yield GaugeMetricFamily(
                "tokenweir_service_runs_running",
                "Running runs, on all servers.",
                counts.runs.get("running", 0),
            )
            yield GaugeMetricFamily("tokenweir_service_servers", "Live servers.", counts.servers)
            yield GaugeMetricFamily(
                "tokenweir_service_oldest_waiting_seconds",
                "Since the oldest waiting run became due.",
                counts.oldest,
            )
        yield GaugeMetricFamily("tokenweir_threads", "Threads that are kept.", counts.threads)
        yield CounterMetricFamily(
            "tokenweir_events", "Events recorded by this process.", runs.worker.events
        )
        yield GaugeMetricFamily("tokenweir_uptime_seconds", "Since this process started.", uptime)
        usage = runs.worker.usage
        callers = [(list(caller), counts) for caller, counts in usage.callers.items()]
        yield from _usage("model", list(Caller._fields), callers)
        yield from _usage("tag", ["tag"], [([tag], counts) for tag, counts in usage.tags.items()])
        timing = runs.worker.timing
        yield _histogram(
            "queue_wait",
            "From when a run was due to when this process began it.",
            {(): timing.waited},
        )
        yield _histogram(
            "takeover",
            "From the last heartbeat of a run's former server to its claim by this process.",
            {(): timing.taken_over},
        )
        yield _histogram(
            "time_to_first_token",
            "From when a run was due to its first token, by graph.",
            {(graph,): found for graph, found in timing.first_tokens.items()},
        )
        yield _histogram(
            "token_gap",
            "From one token of a message to the next one, by graph.",
            {(graph,): found for graph, found in timing.gaps.items()},
        )


_COUNTS = {
    "calls": "Ended model calls in runs of this process",
    "failed": "Failed model calls in runs of this process",
    "input_tokens": "Input tokens of models, as counted by providers",
    "output_tokens": "Output tokens of models, as counted by providers",
}


def _usage(
    by: str, labels: list[str], found: list[tuple[list[str], Counts]]
) -> Iterator[CounterMetricFamily]:
    """One family per count."""
    for name, meaning in _COUNTS.items():
        about = "by tag" if by == "tag" else "by caller"
        family = CounterMetricFamily(
            f"tokenweir_{by}_{name}", f"{meaning}, {about}.", labels=labels
        )
        for values, counts in found:
            family.add_metric(values, getattr(counts, name))
        yield family


def _histogram(
    name: str, meaning: str, found: Mapping[tuple[()] | tuple[str], Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        f"tokenweir_{name}_seconds", meaning, labels=["graph"] if () not in found else []
    )
    for labels, histogram in found.items():
        bounds = [*map(str, histogram.bounds), "+Inf"]
        counts = list(accumulate(histogram.counts))
        family.add_metric(labels, list(zip(bounds, counts, strict=True)), histogram.sum)
    return family


def _unwell(**more: Any) -> Response:
    return Response(msgspec.json.encode(Health(ok=False, **more)), 503, media_type=JSON)
