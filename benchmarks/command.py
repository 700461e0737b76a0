"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import environments, imports, plot
from benchmarks.processes import Server
from benchmarks.report import report
from benchmarks.results import Results
from benchmarks.run import Runner
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.serving import run as serving
from benchmarks.serving.servers import MEANINGS as SERVERS
from benchmarks.targets import missed
from benchmarks.ways import MEANINGS, PEERS

__all__ = ["main"]

_NAMES = (*(scenario.name for scenario in SCENARIOS), imports.NAME, *serving.SCENARIOS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for, and print it."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        _list()
        return
    chosen = _chosen(parser, options.scenarios)
    ways = _ways(parser, options.ways, peers=options.peers)
    if options.plot is not None:
        plot.check(options.plot)
    pythons = {way: Path(sys.executable) for way in MEANINGS if way not in PEERS}
    results = Results(options.quick)
    peers = [way for way in ways or PEERS if way in PEERS] if options.peers else []
    if peers:
        made = environments.pythons(peers, _tell)
        pythons |= made
        results.peers = environments.versions(made)
    rounds = options.rounds or (2 if options.quick else 5)
    replies = [scenario for scenario in SCENARIOS if scenario.name in chosen]
    with Server() as server:
        runner = Runner(
            server.base_url, rounds=rounds, limit=options.limit, pythons=pythons, tell=_tell
        )
        for scenario in replies:
            if able := _of(scenario, ways, peers):
                runner.run(scenario, able, results)
            else:
                _tell(f"{scenario.name}: left out, no way that was named can do it")
    if imports.NAME in chosen:
        imports.run(results, rounds, _tell)
    for name in serving.SCENARIOS:
        if name in chosen:
            servers = serving.WAYS[name] if not options.ways else [*filter(SERVERS.get, ways)]
            if servers:
                serving.run(name, servers, results, min(rounds, 3), _tell)
    if options.json:
        print(json.dumps(results.to_json(), indent=1))
    else:
        units = {scenario.name: scenario.units for scenario in SCENARIOS}
        titles = {scenario.name: scenario.title for scenario in SCENARIOS}
        units[imports.NAME], titles[imports.NAME] = imports.UNITS, imports.TITLE
        units |= dict.fromkeys(serving.SCENARIOS, serving.UNITS)
        titles |= serving.SCENARIOS
        print(report(results, units, titles))
    if options.plot is not None:
        plot.draw(results, options.plot)
        _tell(f"plotted to {options.plot}")
    if options.check and (names := missed(results)):
        raise SystemExit(f"bench: missed: {'; '.join(names)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="CPU time per token by each way to read it, side by side in one run.",
    )
    add = parser.add_argument
    add("scenarios", nargs="*", metavar="SCENARIO", help="which to run; all unless named")
    add("--ways", metavar="WAY,...", help="which ways, by name")
    add("--quick", action="store_true", help="small sizes and two rounds: shows that it works")
    add("--rounds", type=int, metavar="N", help="turns of each way (5)")
    add("--limit", type=float, default=120, metavar="S", help="give a measurement up after (120)")
    add("--peers", action="store_true", help="other libraries too, installed by uv into .venvs")
    add("--json", action="store_true", help="print all samples as JSON instead of tables")
    add("--plot", type=Path, metavar="FILE", help="draw a chart: .png or .svg")
    add("--check", action="store_true", help="fail if a ratio that was measured is missed")
    add("--list", action="store_true", help="list the scenarios and ways")
    return parser


def _list() -> None:
    print("scenarios")
    for scenario in SCENARIOS:
        print(f"  {scenario.name:16}{scenario.title}")
    for name, title in {imports.NAME: imports.TITLE, **serving.SCENARIOS}.items():
        print(f"  {name:16}{title}")
    print("ways")
    for way, meaning in MEANINGS.items():
        print(f"  {way:18}{meaning}{' (with --peers)' if way in PEERS else ''}")
    print("servers, for serve-*")
    for server, meaning in SERVERS.items():
        print(f"  {server:18}{meaning}")


def _chosen(parser: argparse.ArgumentParser, names: Sequence[str]) -> set[str]:
    chosen = set(_NAMES) if not names else set[str]()
    for name in names:
        found = {known for known in _NAMES if known == name or known.startswith(f"{name}-")}
        if not found:
            parser.error(f"no scenario {name!r}: there are {', '.join(_NAMES)}")
        chosen |= found
    return chosen


def _ways(parser: argparse.ArgumentParser, given: str | None, *, peers: bool) -> list[str]:
    names = [name.strip() for name in given.split(",")] if given else []
    for name in names:
        if name not in MEANINGS and name not in SERVERS:
            there = ", ".join([*MEANINGS, *SERVERS])
            parser.error(f"no way {name!r}: there are {there}")
        if name in PEERS and not peers:
            parser.error(f"{name} needs --peers, which installs it")
    return names


def _of(scenario: Scenario, named: Sequence[str], peers: Sequence[str]) -> list[str]:
    theirs = list(peers) if scenario.peers else []
    if not named:
        return [*scenario.ways, *theirs]
    able = dict.fromkeys((*scenario.ways, *scenario.also, *theirs))
    return [way for way in able if way in named]


def _tell(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)
