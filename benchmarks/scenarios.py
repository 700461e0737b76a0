"""What is measured: which replies, read how, and what is made of the times.

A scenario is data; how it is run stands in ``run.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from benchmarks.child import Measured
from benchmarks.script import Script

__all__ = ["SCENARIOS", "Point", "Scenario"]

Points = Mapping[str, "Point"]
Times = Mapping[str, Measured]

CLIENTS = ("raw", "sdk", "chatopenai")
GRAPHS = ("plain", "plain+model", "ours", "ours+chatopenai")
SYNC = ("sdk-sync", "plain-sync", "plain+model-sync", "ours-sync")


@dataclass(frozen=True)
class Point:
    """One measurement: a reply, so many at once, that so many times."""

    script: Script
    streams: int = 1
    repeat: int = 1
    memory: bool = False

    def tokens(self) -> int:
        """Of all its replies together."""
        return self.script.tokens * self.streams * self.repeat


@dataclass(frozen=True)
class Scenario:
    """One kind of work.

    Args:
        name: To choose it by; ``growth`` chooses ``growth-text`` as well.
        title: What it is, in a few words.
        units: The unit of each metric, the first being the one that counts.
        points: The measurements, by name, for a quick run or a full one.
        metrics: The metrics of one round, from the points and their times.
        ways: The ways that it runs.
        also: Ways that it can run if they are named.
        peers: Whether the peers can do it.
        task: How replies are read: arguments of ``Task``.
        fresh: A new process for each round.
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


def _burst(kind: str, tokens: int, quick_tokens: int) -> Callable[[bool], Points]:
    def points(quick: bool) -> Points:
        return {"burst": Point(Script(kind, quick_tokens if quick else tokens))}

    return points


def _paced(quick: bool) -> Points:
    streams, short, long = (20, 5, 25) if quick else (100, 10, 70)
    return {
        "short": Point(Script("text", short, 50), streams),
        "long": Point(Script("text", long, 50), streams),
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


def _per_reply(points: Points, times: Times) -> dict[str, float]:
    [(name, point)] = points.items()
    replies = point.streams * point.repeat
    return {"ms/call": 1e3 * times[name].cpu / replies, "ms to first": 1e3 * times[name].first}


def _per_kind(points: Points, times: Times) -> dict[str, float]:
    return {kind: 1e6 * times[kind].cpu / point.tokens() for kind, point in points.items()}


def _slope(points: Points, times: Times, short: str = "short", long: str = "long") -> float:
    tokens = points[long].tokens() / points[long].repeat
    fewer = points[short].tokens() / points[short].repeat
    per_long = times[long].cpu / points[long].repeat
    return 1e6 * (per_long - times[short].cpu / points[short].repeat) / (tokens - fewer)


def _marginal(points: Points, times: Times) -> dict[str, float]:
    slope = _slope(points, times)
    short, long = points["short"], times["long"]
    return {
        "us/token": slope,
        "us/stream": 1e6 * times["short"].cpu / short.streams - slope * short.script.tokens,
        "busy": 100 * long.cpu / long.wall,
    }


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


PACED_UNITS = {"us/token": "us", "us/stream": "us", "busy": "%"}
GROWTH_UNITS = {
    "growth": "x",
    **dict.fromkeys(("10-100", "100-1000", "1000-10000"), "us/token"),
}
THROUGH = ("ours", "ours-collect", "ours-lanes")

SCENARIOS = (
    Scenario(
        "burst",
        "one reply as fast as it can be read; all CPU time by its tokens",
        {"us/token": "us"},
        _burst("text", 3000, 500),
        _per_token,
        (*CLIENTS, *GRAPHS, *SYNC, "ours-guard", "plain-events", "ours-events"),
        peers=True,
    ),
    Scenario(
        "paced",
        "many replies at once, 20 tokens/s each; a token's marginal CPU time",
        PACED_UNITS,
        _paced,
        _marginal,
        (*CLIENTS, *GRAPHS, *SYNC),
        peers=True,
    ),
    Scenario(
        "filtered",
        "as paced, where the reader wants a tag that no model has",
        PACED_UNITS,
        _paced,
        _marginal,
        (*GRAPHS, "ours-after"),
        task={"filtered": True},
    ),
    Scenario(
        "tools",
        "arguments of one tool call, in pieces; valid, and cut short",
        {"tools": "us/chunk", "cut": "us/chunk"},
        _tools,
        _per_kind,
        (*CLIENTS, *GRAPHS),
        ("ours-collect", "ours-lanes", *SYNC),
        task={"tools": True},
    ),
    Scenario(
        "logprobs",
        "one reply in a burst, with log probabilities",
        {"us/token": "us"},
        _burst("logprobs", 1000, 200),
        _per_token,
        (*CLIENTS, *GRAPHS),
        SYNC,
        task={"logprobs": True},
    ),
    Scenario(
        "reply",
        "a whole reply of 300 tokens, not paced, from the call to the end",
        {"ms/call": "ms", "ms to first": "ms"},
        lambda quick: {"reply": Point(Script("text", 300), repeat=2 if quick else 10)},
        _per_reply,
        (*CLIENTS, *GRAPHS, *SYNC),
        peers=True,
    ),
    Scenario(
        "start",
        "a reply of one token, from the call to the end",
        {"ms/call": "ms", "ms to first": "ms"},
        lambda quick: {"start": Point(Script("text", 1), repeat=5 if quick else 50)},
        _per_reply,
        (*CLIENTS, *GRAPHS, *SYNC),
        peers=True,
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
        "what the process grows by for each reply that is open and idle",
        {"kB/stream": "kB"},
        _memory,
        _per_stream,
        (*CLIENTS, *GRAPHS),
        fresh=True,
    ),
)
"""All but ``import``, which starts processes and reads no replies: see ``imports.py``."""
