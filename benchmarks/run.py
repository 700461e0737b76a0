"""Runs a scenario: every way in its own process, in turns, round after round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.processes import ChildError, ChildProcess
from benchmarks.results import Results
from benchmarks.scenarios import Point, Scenario
from benchmarks.ways.base import Task

__all__ = ["Runner"]


class Runner:
    """The common settings of all scenarios of one run.

    Args:
        base_url: The server's URL.
        rounds: How often each way is measured.
        limit: Seconds after which a measurement is given up.
        pythons: The Python of each way.
        tell: Takes a line about the progress.
    """

    def __init__(
        self,
        base_url: str,
        *,
        rounds: int,
        limit: float,
        pythons: Mapping[str, Path],
        tell: Callable[[str], None],
    ) -> None:
        self._base_url = base_url
        self._rounds = rounds
        self._limit = limit
        self._pythons = pythons
        self._tell = tell

    def run(self, scenario: Scenario, ways: Sequence[str], results: Results) -> None:
        """Measure these ways, and add the measurements to the results."""
        points = scenario.points(results.quick)
        with ExitStack() as stack:
            children: dict[str, ChildProcess] = {}

            def child(way: str) -> ChildProcess:
                if way not in children:
                    children[way] = stack.enter_context(self._child(way, scenario))
                    self._warm_up(children[way], points)
                return children[way]

            left = list(ways)
            for number in range(self._rounds):
                self._tell(f"{scenario.name}: round {number + 1} of {self._rounds}")
                # Each round starts with another way, so that no way always follows the same one.
                turn = number % max(1, len(left))
                for way in left[turn:] + left[:turn]:
                    row = results.row(scenario.name, way)
                    try:
                        times = {
                            name: child(way).measure(
                                point.script,
                                streams=point.streams,
                                repeat=point.repeat,
                                memory=point.memory,
                            )
                            for name, point in points.items()
                        }
                    except ChildError as error:
                        row.problem = str(error)
                        self._tell(f"{scenario.name}: {way}: {error}")
                        left.remove(way)
                        continue
                    row.add(scenario.metrics(points, times))
                    if scenario.fresh:
                        children.pop(way).close()

    @contextmanager
    def _child(self, way: str, scenario: Scenario) -> Any:
        task = Task(self._base_url, **scenario.task)
        child = ChildProcess(way, task, python=self._pythons[way], limit=self._limit)
        try:
            yield child
        finally:
            child.close()

    def _warm_up(self, child: ChildProcess, points: Mapping[str, Point]) -> None:
        """Open the connections, and import and run everything once."""
        for point in points.values():
            script = replace(point.script, tokens=min(point.script.tokens, 10), every=0)
            streams = min(point.streams, 100)
            if point.memory:  # memory that is already allocated would be reused
                script, streams = replace(script, kind="text"), 1
            child.measure(script, streams=streams, repeat=3)
