"""The scenarios: which replies are read, how, and how metrics are computed from the times.

A scenario is data; ``run.py`` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from benchmarks.child import Measured
from benchmarks.script import TURNS, Script

__all__ = ["SCENARIOS", "Point", "Scenario"]

Points = Mapping[str, "Point"]
Times = Mapping[str, Measured]

CLIENTS = ("raw", "sdk", "chatopenai")
GRAPHS = ("plain", "plain+model", "ours", "ours+chatopenai")
MAIN = ("raw", "plain", "plain+model", "ours")
SYNC = ("sdk-sync", "plain-sync", "plain+model-sync", "ours-sync")


@dataclass(frozen=True)
class Point:
    """One measurement: a reply, the number of concurrent ones, and the number of repetitions."""

    script: Script
    streams: int = 1
    repeat: int = 1
    memory: bool = False

    def tokens(self) -> int:
        """The tokens of all its replies."""
        return self.script.tokens * self.streams * self.repeat


@dataclass(frozen=True)
class Scenario:
    """One kind of work.

    Args:
        name: Its name on the command line; ``growth`` also selects ``growth-text``.
        title: A short description.
        units: The unit of each metric; the first metric is the main one.
        points: The measurements, by name, for a quick run or a full one.
        metrics: The metrics of one round, from the points and their times.
        ways: The ways that it runs.
        also: Ways that it can run if they are named.
        peers: Whether the peers can run it.
        task: How replies are read: arguments of ``Task``.
        fresh: Whether each round has a new process.
        main: Whether it runs by default.
    """

    name: str
    title: str
    units: Mapping[str, str]
    points: Callable[[bool], Points]
    metrics: Callable[[Points, Times], dict[str, float]]
    ways: tuple[str, ...]
    also: tuple[str, ...] = ()
    peers: bool = False
    task: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False
    main: bool = False


def _burst(kind: str, tokens: int, quick_tokens: int) -> Callable[[bool], Points]:
    def points(quick: bool) -> Points:
        return {"burst": Point(Script(kind, quick_tokens if quick else tokens))}

    return points


def _replies(quick: bool) -> Points:
    lengths = BURST_LENGTHS[:-1] if quick else BURST_LENGTHS
    # The shorter, the more often: one short reply alone is all noise.
    least, most, of_all = (1, 5, 100) if quick else (3, 100, 2000)
    return {
        f"{tokens}": Point(Script("text", tokens), repeat=max(least, min(most, of_all // tokens)))
        for tokens in lengths
    }


def _paced(*lengths: int) -> Callable[[bool], Points]:
    def points(quick: bool) -> Points:
        streams = 20 if quick else 100
        sizes = [tokens for tokens in lengths if not quick or tokens <= 20]
        return {f"{tokens}": Point(Script("text", tokens, 50), streams) for tokens in sizes}

    return points


def _agents(quick: bool) -> Points:
    return {
        "burst": Point(Script("turns", AGENT_TOKENS), repeat=1 if quick else 5),
        "paced": Point(Script("turns", AGENT_TOKENS, 5 if quick else 50), 2 if quick else 20),
    }


def _tools(quick: bool) -> Points:
    tokens = 300 if quick else 2000
    return {kind: Point(Script(kind, tokens)) for kind in ("tools", "cut")}


def _growth(kind: str) -> Callable[[bool], Points]:
    def points(quick: bool) -> Points:
        largest = 1000 if quick else 10000
        sizes = [size for size in (10, 100, 1000, 10000) if size <= largest]
        # As many tokens at every size, up to a point: a short reply alone is all noise.
        return {
            f"{size}": Point(Script(kind, size), repeat=max(1, min(20, largest // size)))
            for size in sizes
        }

    return points


def _streams(quick: bool) -> Points:
    points = {}
    for streams in (5, 20) if quick else (10, 100, 500):
        points[f"{streams} short"] = Point(Script("text", 5, 50), streams)
        points[f"{streams} long"] = Point(Script("text", 25 if quick else 45, 50), streams)
    return points


def _per_token(points: Points, times: Times) -> dict[str, float]:
    return {"us/token": 1e6 * times["burst"].cpu / points["burst"].tokens()}


def _per_length(points: Points, times: Times) -> dict[str, float]:
    found = {name: 1e6 * times[name].cpu / point.tokens() for name, point in points.items()}
    if not points["1"].script.every:
        return {**found, "ms to first": 1e3 * times["1"].first}
    short, long = ("20", "100") if "100" in points else ("1", "20")
    busiest = times[long]
    slope = _slope(points, times, short, long)
    return {**found, "marginal": slope, "busy": 100 * busiest.cpu / busiest.wall}


def _per_run(points: Points, times: Times) -> dict[str, float]:
    return {
        name: 1e3 * times[name].cpu / (point.streams * point.repeat)
        for name, point in points.items()
    }


def _per_kind(points: Points, times: Times) -> dict[str, float]:
    return {kind: 1e6 * times[kind].cpu / point.tokens() for kind, point in points.items()}


def _slope(points: Points, times: Times, short: str, long: str) -> float:
    tokens = points[long].tokens() / points[long].repeat
    fewer = points[short].tokens() / points[short].repeat
    per_long = times[long].cpu / points[long].repeat
    return 1e6 * (per_long - times[short].cpu / points[short].repeat) / (tokens - fewer)


def _marginal_by_size(points: Points, times: Times) -> dict[str, float]:
    names = list(points)
    found = {
        f"{short}-{long}": _slope(points, times, short, long) for short, long in pairwise(names)
    }
    *_, before, last = found.values()
    return {**found, "growth": last / before}


def _marginal_by_streams(points: Points, times: Times) -> dict[str, float]:
    found = {
        f"{point.streams}": _slope(points, times, f"{point.streams} short", name)
        for name, point in points.items()
        if name.endswith("long")
    }
    # The fewest streams stand beside, but a process that mostly sleeps pays more for waking up.
    *_, before, last = found.values()
    return {**found, "growth": last / before}


def _memory(quick: bool) -> Points:
    return {"open": Point(Script("hold", 1), 20 if quick else 200, memory=True)}


def _per_stream(points: Points, times: Times) -> dict[str, float]:
    return {"kB/stream": times["open"].memory / points["open"].streams / 1e3}


BURST_LENGTHS = (1, 20, 50, 100, 300, 3000)
AGENT_TOKENS = 30
BURST_UNITS = {**{f"{tokens}": "us/token" for tokens in BURST_LENGTHS}, "ms to first": "ms"}
PACED_UNITS = {
    **{f"{tokens}": "us/token" for tokens in BURST_LENGTHS[:-1]},
    "marginal": "us/token",
    "busy": "%",
}
GROWTH_UNITS = {
    "growth": "x",
    **dict.fromkeys(("10-100", "100-1000", "1000-10000"), "us/token"),
}
THROUGH = ("ours", "ours-collect", "ours-lanes")

SCENARIOS = (
    Scenario(
        "burst",
        "replies as fast as they can be read, by length; all CPU time, starts included",
        BURST_UNITS,
        _replies,
        _per_length,
        (*MAIN, "plain-sync", "ours-sync", "plain-events", "ours-events"),
        (*CLIENTS, "ours+chatopenai", "plain+model-sync", "sdk-sync", "ours-guard"),
        peers=True,
        main=True,
    ),
    Scenario(
        "paced",
        "100 replies at once, 20 tokens/s each, by length; all CPU time, starts included",
        PACED_UNITS,
        _paced(1, 20, 50, 100, 300),
        _per_length,
        MAIN,
        (*CLIENTS, *GRAPHS, *SYNC),
        peers=True,
        main=True,
    ),
    Scenario(
        "filtered",
        "as paced, where the reader wants a tag that no model has",
        PACED_UNITS,
        _paced(1, 20, 50, 100),
        _per_length,
        ("plain", "plain+model", "ours"),
        (*GRAPHS, "ours-after"),
        task={"filtered": True},
        main=True,
    ),
    Scenario(
        "agent",
        f"a run of create_agent: {TURNS} tool calls and an answer, {AGENT_TOKENS} tokens each",
        {"burst": "ms/run", "paced": "ms/run"},
        _agents,
        _per_run,
        ("plain", "plain+model", "ours"),
        ("ours+chatopenai",),
        task={"agent": True},
        main=True,
    ),
    Scenario(
        "tools",
        "arguments of one tool call, in pieces; valid, and cut short",
        {"tools": "us/chunk", "cut": "us/chunk"},
        _tools,
        _per_kind,
        MAIN,
        ("ours-collect", "ours-lanes", *CLIENTS, *GRAPHS, *SYNC),
        task={"tools": True},
        main=True,
    ),
    Scenario(
        "logprobs",
        "one reply in a burst, with log probabilities",
        {"us/token": "us"},
        _burst("logprobs", 1000, 200),
        _per_token,
        MAIN,
        (*CLIENTS, *GRAPHS, *SYNC),
        task={"logprobs": True},
        main=True,
    ),
    *(
        Scenario(
            f"growth-{kind}",
            f"a token's marginal CPU time as a reply gets longer: {words}",
            GROWTH_UNITS,
            _growth(kind),
            _marginal_by_size,
            (*THROUGH, *(("ours-objects",) if kind == "tools" else ())),
            ("raw", *GRAPHS),
            task={"tools": kind != "text"},
        )
        for kind, words in (
            ("text", "text"),
            ("tools", "tool arguments"),
            ("cut", "tool arguments cut short"),
        )
    ),
    Scenario(
        "growth-streams",
        "a token's marginal CPU time as more replies are open, 20 tokens/s each",
        {"growth": "x", **dict.fromkeys(("5", "10", "20", "100", "500"), "us/token")},
        _streams,
        _marginal_by_streams,
        ("ours", "ours-lanes"),
        ("raw", *GRAPHS),
    ),
    Scenario(
        "memory",
        "the growth of the process for each reply that is open and idle",
        {"kB/stream": "kB"},
        _memory,
        _per_stream,
        (*CLIENTS, *GRAPHS),
        fresh=True,
    ),
)
"""All but ``import``, which starts processes and reads no replies: see ``imports.py``."""
