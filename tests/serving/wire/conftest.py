"""One real server for all tests of a module, as starting one takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokenweir.testing import Provider

SAMPLES = Path(__file__).parent / "sample_graphs.py"
READY = ("joke_poem", "joke_poem_parallel", "chat", "agent", "story")
OWN = ("repeat", "asking", "by_hand", "broken", "unasked", "tagged_agent")
GRAPHS = (*READY, *(f"{name}={SAMPLES}:{name}" for name in OWN))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Provider]]:
    """A server without keys, and the scripted provider behind its graphs."""
    with Provider() as provider:
        process = subprocess.Popen(
            [sys.executable, "-m", "tokenweir", "serve", "--port", "0", *GRAPHS],
            cwd=tmp_path_factory.mktemp("server"),
            env={**os.environ, **provider.environ},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://"), "the server did not start; what it says is above"
            yield url, provider
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture
def server(shared: tuple[str, Provider]) -> str:
    """The address of a server without keys."""
    return shared[0]


@pytest.fixture
def provider(shared: tuple[str, Provider]) -> Provider:
    """The provider behind ``server``, with nothing scripted or recorded yet."""
    provider = shared[1]
    provider.release()
    provider.requests.clear()
    provider._queue.clear()
    provider._rules.clear()
    return provider
