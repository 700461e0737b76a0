"""A chart of what was measured: a panel per scenario, a bar per way."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from benchmarks.results import Results, Sample
from benchmarks.ways import PEERS
from benchmarks.ways.base import optional

__all__ = ["check", "draw"]

_WIDTH = 8.0
_OURS, _PEER, _OTHER = "#1f77b4", "#c7b299", "#9aa5b1"


def check(file: Path) -> None:
    """Fail before the measuring, not after it."""
    if file.suffix not in (".png", ".svg"):
        raise SystemExit(f"--plot draws to .png or .svg, not to {file.name}")
    if not file.parent.is_dir():
        raise SystemExit(f"--plot: there is no folder {file.parent}")
    if find_spec("matplotlib") is None:
        raise SystemExit("--plot needs matplotlib, which `make bench` brings")


def draw(results: Results, file: Path) -> None:
    """Draw the first metric of each scenario: medians, with the least and the most of the rounds.

    The axis is logarithmic, because the ways are orders of magnitude apart.
    """
    optional("matplotlib").use("Agg")
    plots = optional("matplotlib.pyplot")
    panels = {name: found for name in results.rows if (found := _panel(results, name))}
    if not panels:
        raise SystemExit("--plot: nothing was measured")
    heights = [1 + 0.28 * len(bars) for _, bars in panels.values()]
    figure, axes = plots.subplots(
        len(panels),
        squeeze=False,
        figsize=(_WIDTH, sum(heights)),
        height_ratios=heights,
        layout="constrained",
    )
    for axis, (scenario, (metric, bars)) in zip(axes[:, 0], panels.items(), strict=True):
        ways = list(bars)
        medians = [bar.median for bar in bars.values()]
        below = [bar.median - bar.low for bar in bars.values()]
        above = [bar.high - bar.median for bar in bars.values()]
        drawn = axis.barh(
            ways, medians, xerr=[below, above], color=[_colour(way) for way in ways], capsize=2
        )
        axis.bar_label(drawn, [f" {value:,.3g}" for value in medians], padding=4, fontsize=8)
        axis.set_xscale("log")
        axis.margins(x=0.15)
        axis.invert_yaxis()
        axis.set_title(f"{scenario}: CPU, {metric}" if metric != "kB/stream" else scenario)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)
    plots.close(figure)


def _panel(results: Results, scenario: str) -> tuple[str, dict[str, Sample]] | None:
    bars: dict[str, Sample] = {}
    first = ""
    for way, row in results.rows[scenario].items():
        if row.rounds:
            first, values = next(iter(row.rounds.items()))
            sample = Sample.of(values)
            if sample.low > 0:  # a logarithm needs it; a slope that is not is all noise
                bars[way] = sample
    return (first, bars) if bars else None


def _colour(way: str) -> str:
    if "ours" in way or "tokenweir" in way or way.startswith("plain+model"):
        return _OURS
    return _PEER if way in PEERS else _OTHER
