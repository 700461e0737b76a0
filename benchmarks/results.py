"""The results: samples per scenario, way and metric; medians, ratios, JSON."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Results", "Row", "Sample", "load", "machine", "save"]

_PACKAGES = (
    "langgraph",
    "langchain-core",
    "langchain-openai",
    "openai",
    "aiohttp",
    "msgspec",
    "uvicorn",
    "uvloop",
)


@dataclass(frozen=True)
class Sample:
    """A median, and the least and the most of the rounds."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """Of at least one value."""
        return cls(median(values), min(values), max(values), len(values))


@dataclass
class Row:
    """One way in one scenario: a value per round for each metric, or why it has none."""

    rounds: dict[str, list[float]] = field(default_factory=dict)
    problem: str | None = None

    def add(self, metrics: Mapping[str, float]) -> None:
        """Add the metrics of one round."""
        for name, value in metrics.items():
            self.rounds.setdefault(name, []).append(value)


@dataclass
class Results:
    """The rows of one run on one Python, by scenario and way.

    Args:
        quick: Whether sizes were small, so that the figures mean nothing.
        machine: The machine, and the versions of packages.
        peers: The version of each peer.
        rows: The measurements.
    """

    quick: bool
    machine: dict[str, str] = field(default_factory=lambda: machine())
    peers: dict[str, str] = field(default_factory=dict)
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)

    @property
    def python(self) -> str:
        """The version of Python that was measured."""
        return self.machine["python"]

    def row(self, scenario: str, way: str) -> Row:
        """The row, created if it does not exist."""
        return self.rows.setdefault(scenario, {}).setdefault(way, Row())

    def values(self, scenario: str, way: str, metric: str) -> list[float]:
        """A value per round; empty if it was not measured."""
        row = self.rows.get(scenario, {}).get(way)
        return [] if row is None else row.rounds.get(metric, [])

    def ratio(self, scenario: str, metric: str, over: str, under: str) -> Sample | None:
        """One way's cost divided by another's, of medians; low and high are of single rounds."""
        above = self.values(scenario, over, metric)
        below = self.values(scenario, under, metric)
        if not above or not below or min(below) <= 0:
            return None
        paired = [a / b for a, b in zip(above, below, strict=False)]
        return Sample(median(above) / median(below), min(paired), max(paired), len(paired))

    def to_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "machine": self.machine,
            "peers": self.peers,
            "quick": self.quick,
            "scenarios": {
                scenario: {
                    way: {"problem": row.problem, "rounds": row.rounds} for way, row in rows.items()
                }
                for scenario, rows in self.rows.items()
            },
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Results:
        """What ``to_json`` gave."""
        rows = {
            scenario: {way: Row(row["rounds"], row["problem"]) for way, row in ways.items()}
            for scenario, ways in found["scenarios"].items()
        }
        return cls(found["quick"], found["machine"], found["peers"], rows)

    def join(self, later: Results) -> None:
        """Take the scenarios of a later run, in place of those of the same name."""
        self.quick |= later.quick
        self.peers |= later.peers
        self.rows |= later.rows


def load(file: Path) -> list[Results]:
    """The runs that a file holds; none if there is no file."""
    return [*map(Results.from_json, json.loads(file.read_text()))] if file.exists() else []


def save(file: Path, runs: Sequence[Results]) -> None:
    """Add runs to a file, each to that of the same machine, Python and versions.

    A run of the same Python with other versions is dropped, so that a file never mixes two.
    """
    kept = {run.python: run for run in load(file)}
    for run in runs:
        before = kept.get(run.python)
        if before is not None and before.machine == run.machine:
            before.join(run)
        else:
            kept[run.python] = run
    text = json.dumps([run.to_json() for run in kept.values()], indent=1, ensure_ascii=False)
    file.write_text(re.sub(r"\[\s+([-\d.e,\s]+?)\s+\]", _on_one_line, text) + "\n")


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{', '.join(f'{float(each):.6g}' for each in numbers[1].split(','))}]"


def machine() -> dict[str, str]:
    """The machine, and the versions of packages."""
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
    }
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    if sys.platform == "linux":
        with Path("/proc/cpuinfo").open() as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
