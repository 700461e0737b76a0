"""Whether the server lives, what it is, and how busy: ``/ok``, ``/info``, ``/metrics``."""

from __future__ import annotations

import time
from collections import Counter

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from tokenweir._version import __version__
from tokenweir.serving.running.records import FINAL
from tokenweir.serving.service import Service

__all__ = ["routes"]


def routes(service: Service) -> list[BaseRoute]:
    """The routes of this module."""
    started = time.monotonic()

    async def ok(request: Request) -> Response:
        runs = service.started
        if runs is None:
            return JSONResponse({"ok": False, "detail": "the server has not started"}, 503)
        if runs.worker.stopping:
            return JSONResponse({"ok": False, "stopping": True}, 503)
        if runs.log.problem is not None:
            return JSONResponse({"ok": False, "detail": "the event log cannot be written"}, 503)
        return JSONResponse({"ok": True})

    async def info(request: Request) -> Response:
        return JSONResponse(
            {
                "name": "tokenweir",
                "version": __version__,
                "graphs": list(service.runs.graphs),
                "flags": {"assistants": True, "crons": False, "langsmith": False},
            }
        )

    async def metrics(request: Request) -> Response:
        runs = service.runs
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
            f"tokenweir_uptime_seconds {time.monotonic() - started:.3f}",
        ]
        text = "\n".join(lines) + "\n"
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    return [Route("/ok", ok), Route("/info", info), Route("/metrics", metrics)]
