"""The servers that are measured, each as a process, and how to ask each for a stream."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks.processes import ROOT, environment
from benchmarks.ways.base import MODEL

__all__ = ["MEANINGS", "SERVERS", "Kind", "Running", "more_files", "pin"]

_PATIENCE = 60.0
_TOKENWEIR = ("tokenweir", "serve", "say=benchmarks.serving.graph:say", "--max-runs", "5000")


@dataclass(frozen=True)
class Kind:
    """One server.

    Args:
        meaning: What it is, in a few words.
        command: Behind ``python -m``; ``{port}`` and ``{folder}`` are filled in.
        path: Where to POST.
        body: What to POST, by the prompt.
    """

    meaning: str
    command: tuple[str, ...]
    path: str
    body: Callable[[str], object]


def _message(prompt: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": prompt}]}


def _graph_input(prompt: str) -> object:
    return {"input": _message(prompt), "on_disconnect": "cancel"}


def _chat(prompt: str) -> object:
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    return {"model": MODEL, **_message(prompt), **usage}


def _model(prompt: str) -> object:
    return {"model": "say", **_message(prompt), "stream": True}


def _run(prompt: str) -> object:
    more = {"stream_mode": "messages-tuple", "on_disconnect": "cancel"}
    return {"assistant_id": "say", "input": _message(prompt), **more}


_ON_DISK = (*_TOKENWEIR, "--data", "{folder}", "--port", "{port}")
_IN_MEMORY = (*_TOKENWEIR, "--memory", "--port", "{port}")
_FASTAPI = ("benchmarks.serving.fastapi_server", "{port}")
_PROXIES = "benchmarks.serving.proxies"

SERVERS = {
    "fastapi": Kind(
        "FastAPI, sse-starlette, graph.astream, ChatOpenAI", _FASTAPI, "/say", _message
    ),
    "proxy": Kind(
        "a proxy of bytes, aiohttp", (_PROXIES, "aiohttp", "{port}"), "/chat/completions", _chat
    ),
    "proxy-asyncio": Kind(
        "a proxy of bytes, bare asyncio", (_PROXIES, "asyncio", "{port}"), "/any", _chat
    ),
    "serve": Kind("tokenweir serve, plain SSE", _ON_DISK, "/graphs/say/events", _graph_input),
    "serve-memory": Kind(
        "tokenweir serve --memory, plain SSE", _IN_MEMORY, "/graphs/say/events", _graph_input
    ),
    "serve-langgraph": Kind(
        "tokenweir serve, LangGraph's API, messages-tuple", _ON_DISK, "/runs/stream", _run
    ),
    "serve-openai": Kind(
        "tokenweir serve, OpenAI's protocol", _ON_DISK, "/v1/chat/completions", _model
    ),
}

MEANINGS = {name: kind.meaning for name, kind in SERVERS.items()}


class Running:
    """A server's process, ready for requests; ended at the end of ``with``."""

    def __init__(self, name: str, upstream: str, folder: Path) -> None:
        self._kind = SERVERS[name]
        self.port = _free_port()
        words = [word.format(port=self.port, folder=folder) for word in self._kind.command]
        self._said = folder / "said"
        # Clients that leave in the middle are told of by some, at length.
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env={**environment(), "BENCH_UPSTREAM": upstream},
                stdout=said,
                stderr=said,
            )
        self.pid = self._process.pid
        pin(self.pid, 0)

    def request(self, prompt: str) -> str:
        """All of a request for one stream."""
        body = json.dumps(self._kind.body(prompt))
        head = (
            f"POST {self._kind.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head + body

    def __enter__(self) -> Running:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._end()
                    reason = self._said.read_text()[-2000:]
                    raise RuntimeError(f"{self._kind.meaning} did not start: {reason}") from None
                time.sleep(0.05)
            else:
                return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


def pin(pid: int, core: int) -> None:
    """Keep a process on one of the cores: 0 is the measured server's, 1 everything else's."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(pid, {cores[0]} if core == 0 else set(cores[1:]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def more_files() -> None:
    """Let this process and its children have as many sockets as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
