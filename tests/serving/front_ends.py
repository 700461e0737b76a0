"""One real server for the tests of front ends' clients, and the clients' packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import npm_packages
from tests.serving.conftest import Server, Shared
from tests.serving.node_scripts import run_script
from tokenweir.testing import Provider, RecordedRequest

__all__ = ["INTERRUPTS", "Run", "killing", "run", "scripts", "shared", "stalled"]

INTERRUPTS = pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="before Python 3.11 LangChain's middleware cannot interrupt in an async node",
)

APPROVING = Path(__file__).parent / "approving_graphs.py"
READY = ("joke_poem", "joke_poem_parallel", "chat", "agent", "story")
OWN = ("asks", "answers", "writes", "fails", "fans", "nested", "retries", "talk", "two_steps")
GRAPHS = [*READY, *(f"{name}=sample:{name}" for name in OWN), f"approves={APPROVING}:approves"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """One server with a graph for each thing that a front end shows."""
    with Provider() as provider:
        server = Server([*GRAPHS], tmp_path_factory.mktemp("shared"), provider.environ)
        try:
            assert server.url.startswith("http://"), server.stderr()
            yield Shared(server.url, provider)
        finally:
            server.close()


@pytest.fixture(scope="module")
def scripts() -> Path:
    """A folder with the clients' packages and our scripts; skips where there cannot be one."""
    return npm_packages.with_scripts(npm_packages.FRONT_ENDS)


Run = Callable[..., Any]


@pytest.fixture
def run(shared: Shared, scripts: Path) -> Run:
    """Runs a scenario of a script against the server, and gives what the client saw.

    Nothing is scripted or recorded yet.
    """
    shared.provider.release()
    shared.provider.requests.clear()
    shared.provider._queue.clear()
    shared.provider._rules.clear()

    def run(script: str, *words: str, **does: Callable[[], object]) -> Any:
        named = {name.replace("_", " "): each for name, each in does.items()}
        return run_script(scripts / script, shared.url, *words, does=named)

    return run


def stalled(provider: Provider, prompt: str) -> RecordedRequest:
    """The newest request to the model with this prompt."""
    return next(each for each in reversed(provider.requests) if each.prompt == prompt)


def killing(
    serve: Callable[..., Server], provider: Provider, folder: Path, *graphs: str
) -> tuple[Server, Callable[[], None]]:
    """A server that keeps its runs, and what kills it and starts it again at its address."""
    words = [*graphs, "--data", str(folder)]
    server = serve(*words)

    def kill() -> None:
        server.kill()
        serve(*words, "--port", str(urlsplit(server.url).port))
        provider.release()

    return server, kill
