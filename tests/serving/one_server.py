"""One real server for all tests of a module, as starting one takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.conftest import Server
from tokenweir.testing import Provider

__all__ = ["SAMPLES", "provider", "server", "shared"]

SAMPLES = Path(__file__).parent / "sample_graphs.py"
READY = ("joke_poem", "joke_poem_parallel", "chat", "agent", "story")
OWN = (
    "repeat",
    "asking",
    "by_hand",
    "broken",
    "unasked",
    "tagged_agent",
    "with_agent",
    "two_questions",
    "many",
)
QUOTED = '"quoted" & <b>'
"""A graph's name that must be written with care everywhere."""

GRAPHS = (*READY, *(f"{name}={SAMPLES}:{name}" for name in OWN), f"{QUOTED}={SAMPLES}:quoted")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Provider]]:
    """A server without keys, and the scripted provider behind its graphs."""
    with Provider() as provider:
        server = Server([*GRAPHS], tmp_path_factory.mktemp("server"), provider.environ)
        try:
            assert server.url.startswith("http://"), server.stderr()
            yield server.url, provider
        finally:
            server.close()


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
