"""The tables that a run prints: plain text, aligned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.results import Results, Sample, machine
from benchmarks.serving.servers import MEANINGS as SERVERS
from benchmarks.targets import TARGETS
from benchmarks.ways import MEANINGS

__all__ = ["report"]


def report(
    results: Results, units: Mapping[str, Mapping[str, str]], titles: Mapping[str, str]
) -> str:
    """All of it: the machine, a table per scenario, and the table of ratios."""
    facts = {**machine(), **results.peers}
    lines = [", ".join(f"{name} {value}" for name, value in facts.items())]
    for scenario, rows in results.rows.items():
        lines += ["", f"{scenario}: {titles[scenario]}"]
        lines += _scenario(results, scenario, units[scenario], list(rows))
    ratios = list(_ratios(results))
    if ratios:
        lines += ["", "ratios: a cost by another, medians; in brackets single rounds"]
        heads = ("scenario", "of", "by", "measured", "[rounds]", "wanted", "aimed", "")
        lines += _table([heads, *ratios], right=(3, 4, 5, 6))
    if results.quick:
        lines += [
            "",
            "A quick run: small sizes and few rounds. It shows that things work, no more.",
        ]
    return "\n".join(lines)


def _scenario(
    results: Results, scenario: str, units: Mapping[str, str], ways: Sequence[str]
) -> Iterator[str]:
    measured = {name for way in ways for name in results.rows[scenario][way].rounds}
    metrics = [name for name in units if name in measured]
    heads = ["", *(_head(name, units[name]) for name in metrics for _ in (0,))]
    cells: list[Sequence[str]] = []
    for way in ways:
        row = results.rows[scenario][way]
        found = [row.rounds.get(name) for name in metrics]
        shown = [_sample(Sample.of(values)) if values else "-" for values in found]
        note = row.problem or {**SERVERS, **MEANINGS}.get(way, "")
        cells.append([way, *shown, note])
    return _table([[*heads, ""], *cells], right=range(1, len(metrics) + 1))


def _head(name: str, unit: str) -> str:
    return name if unit in name.split() or name.startswith(f"{unit}/") else f"{name} ({unit})"


def _ratios(results: Results) -> Iterator[tuple[str, ...]]:
    for target in TARGETS:
        found = target.measured(results)
        if found is None:
            continue
        bound = "<=" if target.at_most else ">="
        yield (
            target.scenario if target.metric != "cut" else f"{target.scenario}, cut short",
            target.over,
            target.under or f"({target.metric})",
            f"{_number(found.median)}x",
            f"[{_number(found.low)} .. {_number(found.high)}]",
            f"{bound} {target.wanted:g}",
            f"{target.aimed:g}" if target.aimed is not None else "",
            target.verdict(found.median),
        )


def _sample(sample: Sample) -> str:
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
