"""The benchmarks measure what they say: their server, their sums, and one tiny run of all of it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from benchmarks.child import Measured
from benchmarks.processes import Server
from benchmarks.report import report
from benchmarks.results import Results
from benchmarks.scenarios import SCENARIOS, Point
from benchmarks.script import Script
from benchmarks.serving import run as serving
from benchmarks.targets import TARGETS, Target, missed
from benchmarks.ways import MEANINGS

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def client() -> Iterator[OpenAI]:
    """The openai SDK, at the scripted server."""
    with Server() as server, OpenAI(base_url=server.base_url, api_key="none") as client:
        yield client


def events(client: OpenAI, script: Script) -> list[Any]:
    """All events of one reply."""
    prompt = script.prompt()
    stream = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": prompt}], stream=True
    )
    return list(stream)


def deltas(found: list[Any]) -> list[Any]:
    return [event.choices[0].delta for event in found if event.choices]


@pytest.mark.parametrize("every", [0, 5])
def test_server_sends_as_many_tokens_as_asked(client: OpenAI, every: int) -> None:
    """A reply has the number of tokens that its script says, in a burst and paced."""
    for tokens in (1, 23):
        found = events(client, Script("text", tokens, every))
        assert sum(bool(delta.content) for delta in deltas(found)) == tokens
        assert found[-1].usage.completion_tokens == tokens
        assert found[-2].choices[0].finish_reason == "stop"


def test_server_sends_arguments(client: OpenAI) -> None:
    """Tool arguments are valid JSON, or cut where no closing bracket makes them valid."""
    calls: dict[str, list[Any]] = {}
    for kind in ("tools", "cut"):
        found = deltas(events(client, Script(kind, 30)))
        calls[kind] = [delta.tool_calls[0].function for delta in found if delta.tool_calls]
        assert len(calls[kind]) == Script(kind, 30).pieces() == 31
        assert calls[kind][0].name == "write"
    whole, cut = ("".join(call.arguments for call in calls[kind]) for kind in ("tools", "cut"))
    assert "naïve" in json.loads(whole)["text"]
    for closing in ("", '"', '"}', "}"):
        with pytest.raises(json.JSONDecodeError):
            json.loads(cut + closing)


def test_server_sends_log_probabilities(client: OpenAI) -> None:
    """With log probabilities, each token has its own."""
    choices = [event.choices[0] for event in events(client, Script("logprobs", 3)) if event.choices]
    found = [(c.delta.content, c.logprobs.content[0].token) for c in choices if c.delta.content]
    assert found == [(" the", " the"), (" quick", " quick"), (" brown", " brown")]


def test_server_reads_the_script_of_each_request(client: OpenAI) -> None:
    """One connection carries different replies, and a request without a script is an error."""
    assert len(events(client, Script("text", 2))) + 3 == len(events(client, Script("text", 5)))
    with pytest.raises(ValueError, match="no script"):
        Script.found_in(b'{"messages": []}')


def test_slope_leaves_out_the_fixed_cost() -> None:
    """The paced metric is the marginal cost of a token, whatever a stream costs to start."""
    paced = next(scenario for scenario in SCENARIOS if scenario.name == "paced")
    points = {
        "short": Point(Script("text", 10, 50), streams=100),
        "long": Point(Script("text", 70, 50), streams=100),
    }
    fixed, token = 100 * 3e-3, 100 * 40e-6
    times = {
        name: Measured(cpu=fixed + point.script.tokens * token, wall=4.0, first=0.0)
        for name, point in points.items()
    }
    found = paced.metrics(points, times)
    assert found["us/token"] == pytest.approx(40)
    assert found["us/stream"] == pytest.approx(3000)


def test_growth_compares_slopes() -> None:
    """A cost that is flat per token grows by 1, one that is quadratic by about the sizes' ratio."""
    growth = next(scenario for scenario in SCENARIOS if scenario.name == "growth-text")
    points = growth.points(False)

    def found(cost: Any) -> float:
        times = {
            name: Measured(0.001 + point.repeat * cost(point.script.tokens), 1.0, 0.0)
            for name, point in points.items()
        }
        return growth.metrics(points, times)["growth"]

    assert found(lambda tokens: 1e-5 * tokens) == pytest.approx(1, rel=0.1)
    assert found(lambda tokens: 1e-8 * tokens**2) == pytest.approx(10, rel=0.1)


def test_ratios_are_of_medians_and_show_the_rounds() -> None:
    """A ratio divides the medians; its range is that of single rounds."""
    results = Results(quick=False)
    for plain, ours in ((200.0, 10.0), (300.0, 10.0), (250.0, 50.0)):
        results.row("burst", "plain").add({"us/token": plain})
        results.row("burst", "ours").add({"us/token": ours})
    found = results.ratio("burst", "us/token", "plain", "ours")
    assert found is not None
    assert (found.median, found.low, found.high, found.n) == (25.0, 5.0, 30.0, 3)
    assert results.ratio("burst", "us/token", "plain", "raw") is None
    table = report(results, {"burst": {"us/token": "us"}}, {"burst": "a burst"})
    assert "25.0x  [5.00 .. 30.0]   >= 25     35  wanted" in table


def test_verdicts() -> None:
    """A target is missed, met, or met as far as was aimed for; smaller is better for some."""
    more = Target("burst", "us/token", "plain", "ours", 25, 35)
    less = Target("burst", "us/token", "ours", "raw", 2, 1.3, at_most=True)
    assert [more.verdict(ratio) for ratio in (24, 25, 35)] == ["missed", "wanted", "aimed"]
    assert [less.verdict(ratio) for ratio in (2.1, 2, 1.3)] == ["missed", "wanted", "aimed"]


def test_missed_names_the_targets_that_a_run_missed() -> None:
    """Only targets that were measured can be missed."""
    results = Results(quick=False)
    results.row("start", "plain").add({"ms/call": 5.0})
    assert missed(results) == []
    results.row("start", "ours").add({"ms/call": 2.6})
    assert missed(results) == ["start, ms/call, plain / ours"]
    results.row("start", "ours").add({"ms/call": 1.0})
    assert missed(results) == []


def test_targets_name_what_is_measured() -> None:
    """Each target is of a scenario, a metric and ways that a run has."""
    scenarios = {scenario.name: scenario for scenario in SCENARIOS}
    for target in TARGETS:
        if target.scenario == "import":
            continue
        if target.scenario in serving.SCENARIOS:
            assert target.metric in serving.UNITS
            assert {target.over, target.under or target.over} <= set(serving.WAYS[target.scenario])
            continue
        scenario = scenarios[target.scenario]
        assert target.metric in scenario.units
        for way in (target.over, target.under):
            assert way is None or way in MEANINGS
            assert way is None or way in scenario.ways or scenario.peers


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_tiny_run_measures_each_way() -> None:
    """A run reads whole replies by each way that was named, and gives a value for each round."""
    ways = "sdk,plain,ours,ours-sync"
    done = run("start", "memory", "--quick", "--rounds", "2", "--ways", ways, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["scenarios"]["start"]
    assert set(rows) == {"sdk", "plain", "ours", "ours-sync"}
    for row in rows.values():
        assert row["problem"] is None
        assert len(row["rounds"]["ms/call"]) == 2
        assert min(row["rounds"]["ms/call"]) > 0


def test_a_tiny_run_measures_servers() -> None:
    """Each server carries all its streams at their pace, and its CPU time and delays are found."""
    ways = "proxy,proxy-asyncio,serve,serve-langgraph,serve-openai"
    if importlib.util.find_spec("sse_starlette"):  # of the group ``bench``
        ways += ",fastapi"
    done = run("serve-50", "--quick", "--rounds", "1", "--ways", ways, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["scenarios"]["serve-50"]
    assert set(rows) == set(ways.split(","))
    for row in rows.values():
        assert row["problem"] is None
        [found] = [{name: each for name, [each] in row["rounds"].items()}]
        assert found["us/token"] > 0
        assert 0 < found["p50"] <= found["p99"]
        assert found["pace"] > 50


def test_a_scenario_that_no_named_way_can_do_is_left_out() -> None:
    """A scenario without any of the ways says so; imports need none, and meet their target."""
    done = run("import", "growth-text", "--ways", "sdk", "--rounds", "1", "--check")
    assert done.returncode == 0, done.stderr
    assert "growth-text: left out" in done.stderr
    assert "import tokenweir" in done.stdout


def test_unknown_names_are_refused() -> None:
    """A scenario or way that is not there is an error that lists those that are."""
    for arguments in (["nonsense"], ["burst", "--ways", "nonsense"]):
        done = run(*arguments)
        assert done.returncode == 2
        assert "nonsense" in done.stderr
        assert ("growth-text" if len(arguments) == 1 else "plain+model") in done.stderr
    done = run("burst", "--ways", "litellm")
    assert "litellm needs --peers" in done.stderr
    done = run("burst", "--plot", "chart.txt")
    assert done.returncode == 1
    assert "--plot draws to .png or .svg" in done.stderr
