"""``tokenweir probe`` and ``tokenweir models``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from tokenweir.cli.models import models
from tokenweir.cli.probe import probe
from tokenweir.testing import Provider, Reply

WORDS = [f" word{number}," for number in range(20)]


def run(command: Any, *words: str) -> Any:
    return CliRunner().invoke(command, list(words), catch_exceptions=False)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key, and no endpoint of the machine's own."""
    monkeypatch.setenv("MY_KEY", "sk-of-my-own")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DASHSCOPE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_a_probe_in_words(provider: Provider) -> None:
    """A table of what the endpoint does; the key comes from the variable that was named."""
    provider.default = Reply(tokens=WORDS, every=0.01)
    ended = run(probe, "openai:m", "--base-url", provider.base_url, "--key-variable", "MY_KEY")
    assert ended.exit_code == 0
    rows = dict(line.split("  ", 1) for line in ended.stdout.splitlines())
    said = {name.strip(): value.strip() for name, value in rows.items()}
    assert said["streams"] == "token by token"
    assert said["chunks"] == f"20, {sum(map(len, WORDS))} characters"
    assert said["usage"] == "yes (20 tokens)"
    assert said["tool calls"] == "not called"
    assert said["reasoning"] == "no"
    assert provider.requests[0].headers["authorization"] == "Bearer sk-of-my-own"
    assert "sk-of-my-own" not in ended.output


def test_a_probe_as_json(provider: Provider) -> None:
    """One object, with the names of the report."""
    provider.default = Reply(tokens=WORDS, every=0.01, stall_after=3)
    words = ("openai:m", "--base-url", provider.base_url, "--json", "--timeout", "0.3")
    said = json.loads(run(probe, *words, "--completions").stdout)
    assert (said["streams"], said["chunks"]) == ("token by token", 3)
    assert "token_gap_timeout" in said["stalled"]
    assert said["reports_usage"] is False
    assert provider.requests[0].path == "/v1/completions"


def test_a_stall_in_words(provider: Provider) -> None:
    """What came before the silence is told beside it."""
    provider.default = Reply(tokens=WORDS, every=0.01, stall_after=3)
    out = run(probe, "openai:m", "--base-url", provider.base_url, "--timeout", "0.3").stdout
    assert "stalled: no further token came within 0.3 s" in out
    assert "until then token by token" in out


def test_a_variable_without_a_key() -> None:
    """A wrong name is a usage error, before anything is asked."""
    ended = run(probe, "openai:m", "--key-variable", "NO_SUCH_KEY")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "NO_SUCH_KEY is not set" in ended.stderr


def test_models() -> None:
    """Ready names stand first; --all adds the rest, each with what it needs."""
    ready = run(models).stdout.splitlines()
    everything = run(models, "--all").stdout.splitlines()
    assert len(ready) < len(everything)
    assert any(line.startswith("upstage:MODEL") and "pip install" in line for line in everything)
    assert not any("missing: " in line for line in everything[: len(ready)])
    records = [json.loads(line) for line in run(models, "--all", "--json").stdout.splitlines()]
    assert len(records) == len(everything)
    assert set(records[0]) == {"name", "ready", "note"}
