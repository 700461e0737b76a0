"""Runs the scenarios of this folder: a number of streams at each server, and their cost."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.processes import ROOT, Server, environment
from benchmarks.results import Results
from benchmarks.script import Script
from benchmarks.serving.load import Job, Seen
from benchmarks.serving.servers import Running, more_files, pin

__all__ = ["ENCODERS", "SCENARIOS", "UNITS", "WAYS", "run"]

UNITS = {
    "us/token": "us",
    "us/beside": "us",
    "us/all": "us",
    "p50": "ms",
    "p99": "ms",
    "kB/stream": "kB",
    "ms/start": "ms",
    "busy": "%",
    "pace": "%",
}
_RATE = 20
_COMPARED = (50, 100, 200, 500)
_HELD = (800, 1200, 1500)

_PROTOCOLS = "serve-protocols-100"
_CLUSTER = "cluster-100"
_BESIDE_AEGRA = "cluster-30"
_PROCESSES = tuple(f"cluster-{streams}" for streams in (200, 800, 1200))

SCENARIOS = {
    f"serve-{streams}": f"a server with {streams} streams of {_RATE} tokens/s each"
    for streams in (*_COMPARED, *_HELD)
}
SCENARIOS[_CLUSTER] = "the same with 100 streams, on Postgres"
SCENARIOS[_BESIDE_AEGRA] = "the same with 30 streams, beside aegra on a Postgres and a Redis"
for _name in _PROCESSES:
    _streams = _name.rpartition("-")[2]
    SCENARIOS[_name] = f"{_streams} streams on 1 to 3 servers of one Postgres, nothing pinned"
SCENARIOS[_PROTOCOLS] = "the same with 100 streams, in each protocol"
_ALL = ("fastapi", "proxy", "proxy-asyncio", "serve", "serve-memory")
WAYS: dict[str, tuple[str, ...]] = {
    f"serve-{streams}": _ALL if streams in _COMPARED else ("proxy", "proxy-asyncio", "serve")
    for streams in (*_COMPARED, *_HELD)
}
ENCODERS = (
    "serve-langgraph",
    "serve-event-protocol",
    "serve-openai",
    "serve-agui",
    "serve-ai-sdk",
)
WAYS[_CLUSTER] = ("serve", "serve-postgres", "serve-elsewhere", "serve-elsewhere-nats")
WAYS[_PROTOCOLS] = ("serve", *ENCODERS)
WAYS[_BESIDE_AEGRA] = ("aegra", "serve-postgres", "serve-postgres-langgraph")
WAYS[_PROCESSES[0]] = ("servers-1", "servers-2", "servers-3", "servers-1+1", "servers-1+2")
WAYS |= dict.fromkeys(_PROCESSES[1:], ("servers-1", "servers-2", "servers-3"))


def run(
    scenario: str,
    ways: Sequence[str],
    results: Results,
    rounds: int,
    tell: Callable[[str], None],
) -> None:
    """Measure these servers ``rounds`` times, in turns, each in a new process."""
    streams = int(scenario.rpartition("-")[2])
    if results.quick:
        streams //= 10
    more_files()
    with Server() as upstream:
        pin(upstream.pid, 1)
        left = list(ways)
        for number in range(rounds):
            tell(f"{scenario}: round {number + 1} of {rounds}")
            turn = number % max(1, len(left))
            for way in left[turn:] + left[:turn]:
                row = results.row(scenario, way)
                try:
                    seen = _measure(way, streams, upstream.base_url, quick=results.quick)
                except RuntimeError as error:
                    row.problem = str(error)
                    tell(f"{scenario}: {way}: {error}")
                    left.remove(way)
                    continue
                row.add(_metrics(seen, streams))


def _measure(way: str, streams: int, upstream: str, *, quick: bool) -> Seen:
    patience = 20.0
    seconds = 1.0 if quick else 4.0
    # Longer than anything here lasts, so that no stream ends while others are measured.
    script = Script("clock", _RATE * 120, 1000 // _RATE)
    with (
        tempfile.TemporaryDirectory() as folder,
        Running(way, upstream, Path(folder)) as server,
    ):
        prompt = script.prompt()
        requests = server.request(prompt), server.starting(prompt)
        job = Job(tuple(server.ports), tuple(server.pids), *requests, 5, 0.2, 0.3, patience)
        _load(job)  # all imported, and run once
        settle = 0.5 if quick else 1.5
        beside = tuple(server.beside)
        job = Job(
            tuple(server.ports),
            tuple(server.pids),
            *requests,
            streams,
            settle,
            seconds,
            patience,
            beside,
        )
        return _load(job)


def _load(job: Job) -> Seen:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serving.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
        text=True,
    )
    pin(process.pid, 1)
    answer, _ = process.communicate(json.dumps(asdict(job)), timeout=120)
    if process.returncode:
        raise RuntimeError("the load client failed; see above")
    found = json.loads(answer)
    if "error" in found:
        raise RuntimeError(found["error"])
    return Seen(**found)


def _metrics(seen: Seen, streams: int) -> dict[str, float]:
    return {
        "us/token": 1e6 * seen.cpu / seen.tokens,
        "us/beside": 1e6 * seen.beside / seen.tokens,
        "us/all": 1e6 * (seen.cpu + seen.beside) / seen.tokens,
        "p50": 1e3 * seen.p50,
        "p99": 1e3 * seen.p99,
        "kB/stream": (seen.after - seen.before) / streams / 1e3,
        "ms/start": 1e3 * seen.starting / streams,
        "busy": 100 * seen.cpu / seen.seconds,
        "pace": 100 * seen.tokens / seen.seconds / _RATE / streams,
    }
