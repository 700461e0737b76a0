"""Writes measurements into the documentation: ``python -m benchmarks.page FILE [--write]``.

``--save`` of the benchmarks makes FILE. README.md and docs/benchmarks.md have places for figures,
from a comment ``<!-- measured: NAME -->`` to ``<!-- /measured -->``. Each is rewritten if FILE has
its figures; without ``--write`` it is printed. The text around them is written by people.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.processes import ROOT
from benchmarks.report import verdicts
from benchmarks.results import Results, Sample, load
from benchmarks.serving.run import SCENARIOS as SERVING
from benchmarks.serving.run import WAYS as SERVERS_OF
from benchmarks.serving.servers import MEANINGS as SERVERS
from benchmarks.ways import PEERS

__all__ = ["PAGES", "PLACES", "main", "renewed"]

PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")
_PLACE = re.compile(r"(<!-- measured: ([\w-]+) -->\n).*?(<!-- /measured -->)", re.DOTALL)
_WAYS = ("plain", "plain+model", "ours", "raw")
_VERSIONS = ("langgraph", "langchain-core", "langchain-openai", "openai", "aiohttp")
_LENGTHS = ("1", "20", "50", "100", "300", "3000")
_REPLIES = ("burst", "paced", "filtered")
_OTHERS = (
    ("agent", "burst", "an agent's run, burst", "ms"),
    ("agent", "paced", "an agent's run, paced", "ms"),
    ("tools", "tools", "arguments of a tool call, 2,000 pieces", "µs per piece"),
    ("tools", "cut", "the same, cut short", "µs per piece"),
    ("logprobs", "us/token", "log probabilities, 1,000 tokens", "µs per token"),
)


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}"


def _cell(run: Results, scenario: str, way: str, metric: str) -> str:
    values = run.values(scenario, way, metric)
    return _number(Sample.of(values).median) if values else ""


def _ratio(run: Results, scenario: str, metric: str, over: str, under: str) -> str:
    found = run.ratio(scenario, metric, over, under)
    return "" if found is None else _number(found.median)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) if rows else ""


def _readme(runs: Sequence[Results]) -> str:
    run = runs[0]
    paced = [_cell(run, "paced", way, "50") for way in ("ours", "plain")]
    burst = [_cell(run, "burst", way, "3000") for way in ("ours", "plain")]
    if not all((*paced, *burst)):
        return ""
    return (
        f"A token of a reply of 50 at 20 tokens/s costs {paced[0]} µs of CPU time, its call "
        f"included, where LangGraph with\n`ChatOpenAI` takes {paced[1]}; in a burst of 3,000 it is "
        f"{burst[0]} instead of {burst[1]}.\n"
    )


def _machine(runs: Sequence[Results]) -> str:
    lines = []
    for run in runs:
        facts = run.machine
        versions = ", ".join(f"{name} {facts[name]}" for name in _VERSIONS if name in facts)
        lines.append(
            f"{facts['cores']} cores, {facts['processor']}, Python {run.python}: {versions}.\n"
        )
    return "".join(lines)


def _replies(runs: Sequence[Results]) -> str:
    rows = []
    for scenario in _REPLIES:
        for metric in (*_LENGTHS, "marginal"):
            for run in runs:
                cells = [_cell(run, scenario, way, metric) for way in _WAYS]
                if any(cells):
                    tokens = f"{int(metric):,}" if metric.isdigit() else "each more"
                    ratio = _ratio(run, scenario, metric, "plain", "ours")
                    rows.append([scenario, tokens, _short(run), *cells, ratio])
    return _table(["µs per token", "tokens", "Python", *_WAYS, "plain / ours"], rows)


def _others(runs: Sequence[Results]) -> str:
    rows = []
    for scenario, metric, words, unit in _OTHERS:
        for run in runs:
            cells = [_cell(run, scenario, way, metric) for way in _WAYS]
            if any(cells):
                ratio = _ratio(run, scenario, metric, "plain", "ours")
                rows.append([words, unit, _short(run), *cells, ratio])
    return _table(["", "unit", "Python", *_WAYS, "plain / ours"], rows)


def _peers(runs: Sequence[Results]) -> str:
    rows = []
    for peer in PEERS:
        for run in runs:
            cells = []
            for scenario, metric in (("burst", "3000"), ("paced", "50")):
                cells.append(_cell(run, scenario, peer, metric))
                cells.append(_ratio(run, scenario, metric, peer, "ours"))
            if any(cells):
                rows.append([f"{peer} {run.peers.get(peer, '')}".strip(), _short(run), *cells])
    heads = ["library", "Python", "burst of 3,000, µs per token", "by ours"]
    return _table([*heads, "50 paced, µs per token", "by ours"], rows)


def _serve(runs: Sequence[Results]) -> str:
    rows = []
    ways = ("fastapi", "proxy", "serve", "serve-memory")
    for scenario in SERVING:
        if re.fullmatch(r"serve-\d+", scenario):
            for run in runs:
                cells = [_cell(run, scenario, way, "us/token") for way in ways]
                if any(cells):
                    by = [("fastapi", "serve"), ("serve", "proxy"), ("serve", "serve-memory")]
                    ratios = [_ratio(run, scenario, "us/token", *pair) for pair in by]
                    streams = f"{int(scenario.rpartition('-')[2]):,}"
                    rows.append([streams, _short(run), *cells, *ratios])
    heads = ["streams", "Python", "FastAPI, µs per token", "proxy", "serve", "in memory"]
    return _table([*heads, "FastAPI / serve", "serve / proxy", "serve / in memory"], rows)


def _servers(
    names: Callable[[str], bool], costs: Mapping[str, str]
) -> Callable[[Sequence[Results]], str]:
    metrics = {**costs, "p50": "delay, p50, ms", "p99": "p99"}
    metrics |= {"kB/stream": "kB per stream", "pace": "in time, %"}

    def table(runs: Sequence[Results]) -> str:
        rows = []
        for scenario in filter(names, SERVING):
            for way in SERVERS_OF[scenario]:
                for run in runs:
                    cells = [_cell(run, scenario, way, metric) for metric in metrics]
                    if any(cells):
                        streams = f"{int(scenario.rpartition('-')[2]):,}"
                        rows.append([streams, SERVERS[way], _short(run), *cells])
        return _table(["streams", "", "Python", *metrics.values()], rows)

    return table


def _targets(runs: Sequence[Results]) -> str:
    rows = []
    for run in runs:
        for python, what, over, under, found, _, wanted, verdict in verdicts(run):
            rows.append([what, f"{over} / {under}" if under else over, python, found])
            rows[-1] += [wanted.replace("<=", "at most").replace(">=", "at least"), verdict]
    return _table(["", "of", "Python", "measured", "wanted", ""], rows)


def _short(run: Results) -> str:
    return ".".join(run.python.split(".")[:2])


PLACES: Mapping[str, Callable[[Sequence[Results]], str]] = {
    "readme": _readme,
    "machine": _machine,
    "replies": _replies,
    "others": _others,
    "peers": _peers,
    "serve": _serve,
    "delays": _servers(
        lambda name: re.fullmatch(r"serve-\d+", name) is not None, {"ms/start": "a run's start, ms"}
    ),
    "protocols": _servers(
        lambda name: name.startswith("serve-protocols"), {"us/token": "µs per token"}
    ),
    "cluster": _servers(
        lambda name: name.startswith("cluster"),
        {"us/token": "µs per token", "us/beside": "beside"},
    ),
    "targets": _targets,
}


def renewed(text: str, runs: Sequence[Results]) -> str:
    """A page's text, with the places rewritten for which these runs have figures."""

    def place(found: re.Match[str]) -> str:
        made = PLACES[found[2]](runs)
        return f"{found[1]}\n{made}\n{found[3]}" if made else found[0]

    return _PLACE.sub(place, text)


def _printed(runs: Sequence[Results]) -> Iterator[str]:
    for name, make in PLACES.items():
        if made := make(runs):
            yield f"<!-- measured: {name} -->\n\n{made}\n<!-- /measured -->\n"


def main() -> None:
    """Print the places, or write them."""
    files = [each for each in sys.argv[1:] if each != "--write"]
    if len(files) != 1 or not (runs := load(Path(files[0]))):
        raise SystemExit("usage: python -m benchmarks.page FILE [--write]; FILE by --save")
    if any(run.quick for run in runs):
        raise SystemExit(f"{files[0]} has a quick run, whose figures say nothing")
    if "--write" not in sys.argv:
        print("\n".join(_printed(runs)))
        return
    for page in PAGES:
        page.write_text(renewed(page.read_text(), runs))


if __name__ == "__main__":
    main()
