"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from benchmarks import environments, imports, plot
from benchmarks.processes import Server
from benchmarks.pythons import run_on
from benchmarks.report import report
from benchmarks.results import Results, load, save
from benchmarks.run import Runner
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.serving import aegra
from benchmarks.serving import run as serving
from benchmarks.serving.servers import MEANINGS as SERVERS
from benchmarks.targets import missed
from benchmarks.ways import MEANINGS, PEERS

__all__ = ["main"]

_MAIN = (*(scenario.name for scenario in SCENARIOS if scenario.main), imports.NAME)
_NAMES = (*(scenario.name for scenario in SCENARIOS), imports.NAME, *serving.SCENARIOS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for, and print it."""
    parser = _parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    if options.list:
        _list()
        return
    if options.show is not None:
        print(_report(load(options.show)))
        return
    chosen = _chosen(parser, options.scenarios)
    ways = _ways(parser, options.ways, peers=options.peers)
    if options.plot is not None:
        plot.check(options.plot)
    if options.pythons:
        passed = _without(given, "--pythons", "--save", "--plot")
        passed = [each for each in passed if each not in ("--json", "--check")]
        runs = [run_on(version, passed, _tell) for version in options.pythons.split(",")]
    else:
        runs = [_measured(chosen, ways, options)]
    if options.save is not None:
        save(options.save, runs)
    if options.json:
        found = [run.to_json() for run in runs]
        print(json.dumps(found if options.pythons else found[0], indent=1))
    else:
        print(_report(runs))
    if options.plot is not None:
        plot.draw(runs[0], options.plot)
        _tell(f"plotted to {options.plot}")
    if options.check and (names := [name for run in runs for name in missed(run)]):
        raise SystemExit(f"bench: missed: {'; '.join(names)}")


def _measured(chosen: Collection[str], ways: Sequence[str], options: Any) -> Results:
    pythons = {way: Path(sys.executable) for way in MEANINGS if way not in PEERS}
    results = Results(options.quick)
    peers = [way for way in ways or PEERS if way in PEERS] if options.peers else []
    if peers:
        made = environments.pythons(peers, _tell)
        pythons |= made
        results.peers = environments.versions(made)
    rounds = options.rounds or (2 if options.quick else 3)
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
            servers = serving.WAYS[name] if not ways else [*filter(SERVERS.get, ways)]
            if servers:
                serving.run(name, servers, results, rounds, _tell)
    if any(rows["aegra"].rounds for rows in results.rows.values() if "aegra" in rows):
        results.peers |= environments.versions({"aegra": aegra.python()})
    return results


def _report(runs: Sequence[Results]) -> str:
    units = {scenario.name: scenario.units for scenario in SCENARIOS}
    titles = {scenario.name: scenario.title for scenario in SCENARIOS}
    units[imports.NAME], titles[imports.NAME] = imports.UNITS, imports.TITLE
    units |= dict.fromkeys(serving.SCENARIOS, serving.UNITS)
    titles |= serving.SCENARIOS
    return report(runs, units, titles)


def _without(arguments: Sequence[str], *names: str) -> list[str]:
    """Command-line arguments without some options and their values."""
    left, kept = iter(arguments), []
    for each in left:
        name, equals, _ = each.partition("=")
        if name not in names:
            kept.append(each)
        elif not equals:
            next(left)
    return kept


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="CPU time per token by each way to read it, side by side in one run.",
    )
    add = parser.add_argument
    add(
        "scenarios",
        nargs="*",
        metavar="SCENARIO",
        help="the scenarios to run; by default those marked with * in the list; or 'all'",
    )
    add("--ways", metavar="WAY,...", help="the ways to run, by name")
    add("--quick", action="store_true", help="small sizes and two rounds, to check that it works")
    add("--rounds", type=int, metavar="N", help="measurements of each way (3)")
    add("--limit", type=float, default=120, metavar="S", help="give up a measurement after (120)")
    add("--peers", action="store_true", help="other libraries too, installed by uv into .venvs")
    add(
        "--pythons",
        metavar="X.Y,...",
        help="run on these Pythons, each in a separate environment, and print them together",
    )
    add("--save", type=Path, metavar="FILE", help="add all samples to a file of JSON")
    add("--show", type=Path, metavar="FILE", help="measure nothing: print a file's samples")
    add("--json", action="store_true", help="print all samples as JSON instead of tables")
    add("--plot", type=Path, metavar="FILE", help="draw a chart: .png or .svg")
    add("--check", action="store_true", help="fail if a target that was measured is missed")
    add("--list", action="store_true", help="list the scenarios and ways")
    return parser


def _list() -> None:
    print("scenarios")
    for scenario in SCENARIOS:
        print(f"{'*' if scenario.main else ' '} {scenario.name:20}{scenario.title}")
    for name, title in {imports.NAME: imports.TITLE, **serving.SCENARIOS}.items():
        print(f"{'*' if name in _MAIN else ' '} {name:20}{title}")
    print("ways")
    for way, meaning in MEANINGS.items():
        print(f"  {way:18}{meaning}{' (with --peers)' if way in PEERS else ''}")
    print("servers, for serve-*")
    for server, meaning in SERVERS.items():
        print(f"  {server:18}{meaning}")


def _chosen(parser: argparse.ArgumentParser, names: Sequence[str]) -> set[str]:
    chosen = set[str]() if names else set(_MAIN)
    for name in names:
        if name == "all":
            return set(_NAMES)
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
