"""The command as a process: signals, pipes that break, and what is imported."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tokenweir.testing import Provider, Reply

Start = Callable[..., Any]

ENDLESS = Reply(tokens=100_000, every=0.02)


def test_the_joke_alone_through_a_pipe(start: Start, provider: Provider) -> None:
    """A ready graph, its model named by the environment, and nothing but the joke on stdout."""
    provider.on("joke", "Why did the cat sit?")
    named = {"TOKENWEIR_MODEL": "openai:gpt-4o-mini"}
    process = start("run", "joke_poem", "topic=cats", "--only", "tag:joke", env=named)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "Why| did| the| cat| sit?|\n")
    assert err == "model: openai:gpt-4o-mini (by --model or TOKENWEIR_MODEL)\n"
    assert len(provider.requests) == 2


def test_signals_stop_the_model_at_once(start: Start, provider: Provider) -> None:
    """Ctrl-C and SIGTERM close the model's connections, keep what came, and say nothing."""
    provider.default = ENDLESS
    ends = {signal.SIGINT: 130, signal.SIGTERM: 143}
    running = {number: start("run", "sample:at_once", "topic=cats") for number in ends}
    for number, process in running.items():
        while not process.stdout.readline().startswith(" t2"):  # calls take turns, line by line
            pass
        process.send_signal(number)
    for number, process in running.items():
        assert process.wait(60) == ends[number]
        assert process.stdout.read().endswith("|\n")
        assert process.stderr.read() == ""
    for request in provider.requests:
        request.wait_closed(60)
        assert request.state == "client_left"


def test_a_node_that_blocks_does_not_keep_the_process(start: Start) -> None:
    """Ctrl-C ends a run whose node sits in a call that nothing interrupts."""
    process = start("run", "sample:blocking", "topic=cats")
    assert process.stdout.readline() == "blocked\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read() == ""


def test_a_reader_that_goes_away(start: Start, provider: Provider) -> None:
    """When the reader of the pipe has gone the model is stopped; exit 141, and no traceback."""
    provider.default = Reply(tokens=100_000, every=0.02, hold_after=1)
    process = start("run", "sample:in_turn", "topic=cats")
    assert process.stdout.read(3) == " t0"  # and no second token has been sent
    process.stdout.close()
    provider.release()
    assert process.wait(60) == 141
    assert process.stderr.read() == ""
    [request] = provider.requests
    request.wait_closed(60)
    assert request.state == "client_left"


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"], ["run"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    """--help answers at once: neither LangGraph, LangChain, openai nor rich is imported."""
    command = [sys.executable, "-X", "importtime", "-m", "tokenweir", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    imported = {line.rpartition("|")[2].split(".")[0].strip() for line in ended.stderr.splitlines()}
    assert "click" in imported
    assert imported.isdisjoint({"langgraph", "langchain_core", "openai", "rich"})


def test_a_closed_output_is_no_error() -> None:
    """With standard output and error closed by the shell the command still ends well."""
    command = f"exec {sys.executable} -m tokenweir --version >&- 2>&-"
    assert subprocess.run(command, shell=True, timeout=60, check=False).returncode == 0
