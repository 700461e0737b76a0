"""A chart of the measurements: a panel per scenario, bars by way, lines for growing sizes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.results import Results, Sample
from benchmarks.ways import PEERS
from benchmarks.ways.base import optional

__all__ = ["check", "draw"]

_WIDTH = 8.0
_OURS, _PEER, _OTHER = "#1f77b4", "#c7b299", "#9aa5b1"


def check(file: Path) -> None:
    """Fail before measuring, not after."""
    if file.suffix not in (".png", ".svg"):
        raise SystemExit(f"--plot draws to .png or .svg, not to {file.name}")
    if not file.parent.is_dir():
        raise SystemExit(f"--plot: there is no folder {file.parent}")
    if find_spec("matplotlib") is None:
        raise SystemExit("--plot needs matplotlib, which `make bench` brings")


def draw(results: Results, file: Path) -> None:
    """Draw each scenario: medians, with the least and the most of the rounds."""
    optional("matplotlib").use("Agg")
    plots = optional("matplotlib.pyplot")
    names = [name for name, rows in results.rows.items() if any(r.rounds for r in rows.values())]
    if not names:
        raise SystemExit("--plot: nothing was measured")
    grows = [name.startswith("growth") for name in names]
    heights = [
        3.0 if line else 1 + 0.28 * len(results.rows[name])
        for name, line in zip(names, grows, strict=True)
    ]
    figure, axes = plots.subplots(
        len(names),
        squeeze=False,
        figsize=(_WIDTH, sum(heights)),
        height_ratios=heights,
        layout="constrained",
    )
    for axis, name, line in zip(axes[:, 0], names, grows, strict=True):
        (_lines if line else _bars)(axis, results, name)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)
    plots.close(figure)


def _bars(axis: Any, results: Results, scenario: str) -> None:
    found = {way: row.rounds for way, row in results.rows[scenario].items() if row.rounds}
    metric = next(iter(next(iter(found.values()))))
    samples = [Sample.of(rounds[metric]) for rounds in found.values()]
    drawn = axis.barh(
        list(found),
        [sample.median for sample in samples],
        xerr=_errors(samples),
        color=[_colour(way) for way in found],
        capsize=2,
    )
    axis.bar_label(drawn, [f" {sample.median:,.4g}" for sample in samples], padding=4, fontsize=8)
    axis.margins(x=0.12)
    axis.invert_yaxis()
    axis.set_title(f"{scenario}, {metric}")


def _lines(axis: Any, results: Results, scenario: str) -> None:
    for way, row in results.rows[scenario].items():
        steps = {name: Sample.of(row.rounds[name]) for name in row.rounds if name != "growth"}
        # A step is "100-1000", or just "100".
        sizes = [int(name.rpartition("-")[2]) for name in steps]
        samples = list(steps.values())
        heights = [sample.median for sample in samples]
        axis.errorbar(sizes, heights, yerr=_errors(samples), label=way, marker="o", capsize=2)
    axis.set_xscale("log")
    axis.set_ylim(0, 1.05 * axis.get_ylim()[1])
    axis.legend(frameon=False, fontsize=8)
    axis.set_title(f"{scenario}, us/token")


def _errors(samples: list[Sample]) -> list[list[float]]:
    return [
        [sample.median - sample.low for sample in samples],
        [sample.high - sample.median for sample in samples],
    ]


def _colour(way: str) -> str:
    if "ours" in way or "tokenweir" in way or way.startswith("plain+model"):
        return _OURS
    return _PEER if way in PEERS else _OTHER
