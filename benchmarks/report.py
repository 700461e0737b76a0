"""The tables that a run prints: plain text, aligned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.results import Results, Sample
from benchmarks.serving.servers import MEANINGS as SERVERS
from benchmarks.targets import TARGETS
from benchmarks.ways import MEANINGS

__all__ = ["report", "verdicts"]


def report(
    runs: Sequence[Results],
    units: Mapping[str, Mapping[str, str]],
    titles: Mapping[str, str],
) -> str:
    """The machine and versions of each run, a table per scenario, and the verdicts.

    Args:
        runs: One for each measured Python; their rows are grouped.
        units: The unit of each metric, by scenario.
        titles: A description of each scenario.
    """
    lines = []
    for run in runs:
        facts = {**run.machine, **run.peers}
        lines.append(", ".join(f"{name} {value}" for name, value in facts.items()))
    for scenario in dict.fromkeys(name for run in runs for name in run.rows):
        lines += ["", f"{scenario}: {titles[scenario]}"]
        lines += _scenario(runs, scenario, units[scenario])
    rows = [row for run in runs for row in verdicts(run)]
    if rows:
        met = sum(row[-1] == "met" for row in rows)
        lines += ["", "targets: a cost by another, medians; in brackets single rounds"]
        heads = ("python", "scenario", "of", "by", "measured", "[rounds]", "wanted", "verdict")
        lines += _table([heads, *rows], right=(4, 5, 6))
        lines += ["", f"{met} of {len(rows)} targets met"]
    if any(run.quick for run in runs):
        lines += [
            "",
            "A quick run: small sizes and few rounds. It only shows that things work.",
        ]
    return "\n".join(lines)


def _scenario(runs: Sequence[Results], scenario: str, units: Mapping[str, str]) -> Iterator[str]:
    there = [(run.python, run.rows[scenario]) for run in runs if scenario in run.rows]
    measured = {name for _, rows in there for row in rows.values() for name in row.rounds}
    metrics = [name for name in units if name in measured]
    heads = ["python", "", *(_head(name, units[name]) for name in metrics), ""]
    cells: list[Sequence[str]] = []
    for way in dict.fromkeys(way for _, rows in there for way in rows):
        for python, rows in there:
            if way in rows:
                row = rows[way]
                found = [row.rounds.get(name) for name in metrics]
                shown = [_sample(Sample.of(values)) if values else "-" for values in found]
                note = row.problem or {**SERVERS, **MEANINGS}.get(way, "")
                cells.append([python, way, *shown, note])
    return _table([heads, *cells], right=range(2, len(metrics) + 2))


def _head(name: str, unit: str) -> str:
    return name if unit in name.split() or name.startswith(f"{unit}/") else f"{name} ({unit})"


def verdicts(run: Results) -> Iterator[tuple[str, ...]]:
    """A row for each target that the run measured, with cells as in the heads above."""
    for target in TARGETS:
        found = target.measured(run)
        if found is None:
            continue
        times = "x" if target.under else ""
        yield (
            run.python,
            f"{target.scenario}, {target.metric}",
            target.over,
            target.under or "",
            f"{_number(found.median)}{times}",
            f"[{_number(found.low)} .. {_number(found.high)}]",
            f"{'<=' if target.at_most else '>='} {target.wanted:g}",
            target.verdict(found.median),
        )


def _sample(sample: Sample) -> str:
    if sample.n == 1:
        return _number(sample.median)
    return f"{_number(sample.median)} [{_number(sample.low)} .. {_number(sample.high)}]"


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _table(rows: Sequence[Sequence[str]], right: Sequence[int]) -> Iterator[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()
