"""The real server as a process, with the scripted provider as its OpenAI."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import fork_server
from tokenweir.testing import Provider

GRAPHS = Path(__file__).parent / "served_graphs.py"


class Server:
    """One ``tokenweir serve``."""

    def __init__(
        self,
        words: list[str],
        folder: Path,
        environ: dict[str, str],
        files: tuple[int, int] | None = None,
    ) -> None:
        """``files`` limits how many it may open: soft and hard, as ``ulimit -n``."""
        words = [word.replace("sample:", f"{GRAPHS}:") for word in words]
        self.process = fork_server.start(
            ["serve", "--port", "0", *words], folder, {**os.environ, **environ}, files
        )
        self.errors: list[str] = []
        self._heard = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.url = self.process.stdout.readline().strip()

    def _listen(self) -> None:
        for line in self.process.stderr:
            with self._heard:
                self.errors.append(line)
                self._heard.notify_all()

    def wait_for(self, text: str) -> None:
        """Wait until it has said this on stderr."""
        with self._heard:
            assert self._heard.wait_for(lambda: text in "".join(self.errors), 60), self.errors

    def stderr(self) -> str:
        """All that it said, once it has ended."""
        self._listener.join(60)
        return "".join(self.errors)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self.process.kill()
        self.process.wait(60)

    def terminate(self) -> int:
        """Ask it to end, and wait; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        print(self.stderr())  # shown with a test that fails
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def serve(provider: Provider, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers, all in one empty folder; ``sample:name`` is a graph of served_graphs.py."""
    servers: list[Server] = []

    def start(*words: str, files: tuple[int, int] | None = None, **environ: str) -> Server:
        server = Server(list(words), tmp_path, {**provider.environ, **environ}, files)
        servers.append(server)
        assert server.url.startswith("http://"), server.stderr()
        return server

    yield start
    for server in servers:
        server.close()


@dataclass(frozen=True)
class Shared:
    """A server that several tests use, each with prompts and threads of its own."""

    url: str
    provider: Provider


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """One server with all graphs of served_graphs.py, for the tests of a module."""
    with Provider() as provider:
        names = ("two_steps", "nested", "asks", "asks_inside", "writes", "fails", "fans", "retries")
        words = [*(f"sample:{name}" for name in names), "talk=sample:talk"]
        server = Server(words, tmp_path_factory.mktemp("shared"), provider.environ)
        try:
            assert server.url.startswith("http://"), server.stderr()
            yield Shared(server.url, provider)
        finally:
            server.close()


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """A plain HTTP client."""
    with httpx.Client(timeout=60) as client:
        yield client


def run_body(graph: str, input: Any, **more: Any) -> dict[str, Any]:
    """The body of a run on LangGraph's API."""
    return {"assistant_id": graph, "input": input, **more}
