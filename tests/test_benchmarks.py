"""The benchmarks measure what they say: their server, their sums, and one tiny run of all of it."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from benchmarks import page
from benchmarks.child import Measured
from benchmarks.command import main
from benchmarks.processes import Server
from benchmarks.report import report
from benchmarks.results import Results, load, save
from benchmarks.scenarios import SCENARIOS
from benchmarks.script import TURNS, Script
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


def test_paced_shows_all_of_a_call_and_a_tokens_share() -> None:
    """A reply's cost includes its start, spread over its tokens; the marginal cost does not."""
    paced = next(scenario for scenario in SCENARIOS if scenario.name == "paced")
    points = paced.points(False)
    fixed, token = 100 * 3e-3, 100 * 40e-6
    times = {
        name: Measured(cpu=fixed + point.script.tokens * token, wall=4.0, first=0.0)
        for name, point in points.items()
    }
    found = paced.metrics(points, times)
    assert found["marginal"] == pytest.approx(40)
    assert found["1"] == pytest.approx(3040)
    assert found["50"] == pytest.approx(100)


def test_server_sends_an_agents_run(client: OpenAI) -> None:
    """A tool is called until its answers are all there, each call with an id of its own."""
    script = Script("turns", 30)
    messages: list[Any] = [{"role": "user", "content": script.prompt()}]
    ids, pieces = set(), 0
    while True:
        stream = client.chat.completions.create(model="any", messages=messages, stream=True)
        found = [event.choices[0] for event in stream if event.choices]
        calls = [call for choice in found for call in choice.delta.tool_calls or ()]
        pieces += len(calls) + sum(bool(choice.delta.content) for choice in found)
        if not calls:
            break
        assert found[-1].finish_reason == "tool_calls"
        arguments = "".join(call.function.arguments or "" for call in calls if call.function)
        assert json.loads(arguments)
        ids.add(calls[0].id)
        called = {"name": "write", "arguments": arguments}
        call = {"id": calls[0].id, "type": "function", "function": called}
        messages.append({"role": "assistant", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": calls[0].id, "content": "written"})
    assert len(ids) == TURNS
    assert pieces + TURNS == script.pieces()


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
        results.row("burst", "plain").add({"3000": plain})
        results.row("burst", "ours").add({"3000": ours})
    found = results.ratio("burst", "3000", "plain", "ours")
    assert found is not None
    assert (found.median, found.low, found.high, found.n) == (25.0, 5.0, 30.0, 3)
    assert results.ratio("burst", "3000", "plain", "raw") is None


def measured_on(python: str, ours: float) -> Results:
    """A run on that Python, in which plain took 200 us a token."""
    results = Results(quick=False, machine={"python": python, "cores": "2"})
    results.row("burst", "plain").add({"3000": 200.0})
    results.row("burst", "ours").add({"3000": ours})
    return results


def test_a_report_has_each_python_and_a_verdict_for_each_target() -> None:
    """The rows of two Pythons stand together; a target is met, or missed by a part of it."""
    runs = [measured_on("3.13.0", 8.0), measured_on("3.11.7", 16.0)]
    table = report(runs, {"burst": {"3000": "us/token"}}, {"burst": "a burst"})
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert "3.13.0 ours 8.00 our astream, our chat_model" in lines
    assert "3.11.7 ours 16.0 our astream, our chat_model" in lines
    assert "3.13.0 burst, 3000 plain ours 25.0x [25.0 .. 25.0] >= 20 met" in lines
    assert "3.11.7 burst, 3000 plain ours 12.5x [12.5 .. 12.5] >= 20 missed by 38 %" in lines
    assert lines[-1] == "1 of 2 targets met"


def test_pages_take_figures_of_one_run() -> None:
    """A place of a page gets the figures of its name, in the page's own format; others stay."""
    text = "<!-- measured: {} -->\n\n| old |\n\n<!-- /measured -->\n"
    runs = [measured_on("3.13.0", 8.0), measured_on("3.11.7", 16.0)]
    written = page.renewed(text.format("replies"), runs)
    assert "| burst | 3,000 | 3.13 | 200 |  | 8.0 |  | 25 |\n" in written
    assert "| burst | 3,000 | 3.11 | 200 |  | 16.0 |  | 12.5 |\n" in written
    assert "| old |" not in written
    assert page.renewed(written, runs) == written
    assert page.renewed(text.format("peers"), runs) == text.format("peers")
    for each in page.PAGES:
        assert set(re.findall(r"<!-- measured: (\S+) -->", each.read_text())) <= set(page.PLACES)


def test_a_file_keeps_a_run_for_each_python(tmp_path: Path) -> None:
    """Scenarios of later runs are added to those of the same machine and versions."""
    file = tmp_path / "runs.json"
    first, later = measured_on("3.13.0", 8.0), Results(False, {"python": "3.13.0", "cores": "2"})
    later.row("tools", "ours").add({"tools": 10.25})
    save(file, [first, measured_on("3.11.7", 16.0)])
    save(file, [later])
    newest, older = load(file)
    assert newest.values("burst", "ours", "3000") == [8.0]
    assert newest.values("tools", "ours", "tools") == [10.25]
    assert older.values("burst", "ours", "3000") == [16.0]
    save(file, [Results(False, {"python": "3.13.0", "cores": "4"})])
    assert [run.rows == {} for run in load(file)] == [True, False]


def test_verdicts() -> None:
    """A target is met, or missed by so much of it; smaller is better for some."""
    more = Target("burst", "3000", "plain", "ours", 25)
    less = Target("burst", "3000", "ours", "raw", 2, at_most=True)
    assert [more.verdict(ratio) for ratio in (20, 25, 35)] == ["missed by 20 %", "met", "met"]
    assert [less.verdict(ratio) for ratio in (2.1, 2, 1.3)] == ["missed by 5 %", "met", "met"]


def test_missed_names_the_targets_that_a_run_missed() -> None:
    """Only targets that were measured can be missed."""
    results = Results(quick=False)
    results.row("burst", "plain").add({"1": 5.0})
    assert missed(results) == []
    results.row("burst", "ours").add({"1": 2.6})
    assert missed(results) == ["burst, 1, plain / ours"]
    results.row("burst", "ours").add({"1": 0.4})
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


@pytest.mark.one_python
def test_a_tiny_run_measures_each_way() -> None:
    """A run reads whole replies by each way that was named, and gives a value for each round."""
    done = run("burst", "--quick", "--rounds", "2", "--ways", "sdk,ours,ours-sync", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["scenarios"]["burst"]
    assert set(rows) == {"sdk", "ours", "ours-sync"}
    for row in rows.values():
        assert row["problem"] is None
        assert len(row["rounds"]["1"]) == 2
        assert min(row["rounds"]["1"]) > 0


@pytest.mark.one_python
@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="an agent's async nodes know their config from 3.11 on"
)
def test_a_tiny_run_measures_agents_and_memory() -> None:
    """An agent's run goes through all its tool calls; what open replies take is found."""
    done = run("agent", "memory", "--quick", "--rounds", "1", "--ways", "ours", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["scenarios"]
    assert found["agent"]["ours"]["rounds"]["burst"][0] > 0
    assert found["memory"]["ours"]["problem"] is None


@pytest.mark.one_python
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


@pytest.mark.one_python
def test_a_tiny_run_measures_several_servers() -> None:
    """Servers that share a Postgres share the streams; CPU time is that of all of them."""
    done = run("cluster-200", "--quick", "--rounds", "1", "--ways", "servers-1+2", "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["scenarios"]["cluster-200"]["servers-1+2"]
    assert row["problem"] is None
    [found] = [{name: each for name, [each] in row["rounds"].items()}]
    assert found["us/token"] > 0
    assert found["us/beside"] > 0
    assert found["us/all"] == pytest.approx(found["us/token"] + found["us/beside"])
    assert found["pace"] > 50


@pytest.mark.one_python
def test_a_scenario_that_no_named_way_can_do_is_left_out() -> None:
    """A scenario without any of the ways says so; imports need none."""
    done = run("import", "growth-text", "--ways", "sdk", "--rounds", "1", "--quick")
    assert done.returncode == 0, done.stderr
    assert "growth-text: left out" in done.stderr
    assert "import tokenweir" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "no scenario 'nonsense': there are .*growth-text"),
        (["burst", "--ways", "nonsense"], r"no way 'nonsense': there are .*plain\+model"),
        (["burst", "--ways", "litellm"], "litellm needs --peers"),
    ],
)
def test_unknown_names_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scenario or way that is not there is an error that lists those that are."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert re.search(said, capsys.readouterr().err)


def test_a_chart_has_a_form_that_is_known() -> None:
    """Nothing is measured for a chart that cannot be drawn."""
    with pytest.raises(SystemExit, match=r"--plot draws to \.png or \.svg"):
        main(["burst", "--plot", "chart.txt"])
