"""The measured servers, each as a process, and how to request a stream from each."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks.processes import ROOT, environment
from benchmarks.serving import aegra
from benchmarks.serving.load import STREAM
from benchmarks.ways.base import MODEL
from tokenweir.serving.postgres.embedded import EmbeddedPostgres

__all__ = ["MEANINGS", "SERVERS", "Kind", "Running", "more_files", "pin"]

_PATIENCE = 60.0
_TOKENWEIR = ("tokenweir", "serve", "say=benchmarks.serving.graph:say", "--max-runs", "5000")


@dataclass(frozen=True)
class Kind:
    """One server.

    Args:
        meaning: A short description.
        command: The arguments of ``python -m``, in which ``{port}``, ``{folder}``, ``{postgres}``
            and ``{nats}`` (a port) are filled in.
        path: The path of the POST.
        body: Makes the body of the POST from the prompt.
    """

    meaning: str
    command: tuple[str, ...]
    path: str
    body: Callable[[str], object]
    elsewhere: tuple[str, ...] = ()
    """The command of another server, which executes the runs that are read on this one."""
    processes: int = 0
    """How many of these share the streams and the whole machine; 0 is one, on its own core."""
    starts: tuple[str, Callable[[str], object]] | None = None
    """The path and body (from the prompt) of a POST that starts the run to read."""


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


def _agui(prompt: str) -> object:
    message = {"id": "1", "role": "user", "content": prompt}
    return {"threadId": STREAM, "runId": "1", "messages": [message]}


def _command(prompt: str) -> object:
    params = {"assistant_id": "say", "input": _message(prompt)}
    return {"id": 1, "method": "run.start", "params": params}


def _channels(prompt: str) -> object:
    return {"channels": ["messages", "lifecycle"]}


def _ai_sdk(prompt: str) -> object:
    message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": prompt}]}
    return {"id": STREAM, "messages": [message]}


_THREAD = "0" * 16 + STREAM
_ON_DISK = (*_TOKENWEIR, "--data", "{folder}", "--port", "{port}")
_IN_MEMORY = (*_TOKENWEIR, "--memory", "--port", "{port}")
_ON_POSTGRES = (*_TOKENWEIR, "--data", "{postgres}", "--port", "{port}")
_ELSEWHERE = (*_ON_POSTGRES, "--max-runs", "0")
_BY_NATS = ("--live", "nats://127.0.0.1:{nats}")
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
    "serve-postgres": Kind(
        "tokenweir serve on Postgres, plain SSE", _ON_POSTGRES, "/graphs/say/events", _graph_input
    ),
    "serve-postgres-langgraph": Kind(
        "the same, LangGraph's API, messages-tuple", _ON_POSTGRES, "/runs/stream", _run
    ),
    "aegra": Kind(
        "aegra as it comes, LangGraph's API, messages-tuple", aegra.COMMAND, "/runs/stream", _run
    ),
    **{
        f"servers-{count}": Kind(
            f"{count} of them, each executes what it streams",
            _ON_POSTGRES,
            "/graphs/say/events",
            _graph_input,
            processes=count,
        )
        for count in (1, 2, 3)
    },
    **{
        f"servers-1+{count}": Kind(
            f"one executes, {count} stream",
            _ELSEWHERE,
            "/graphs/say/events",
            _graph_input,
            elsewhere=_ON_POSTGRES,
            processes=count,
        )
        for count in (1, 2)
    },
    "serve-elsewhere": Kind(
        "the same, read at another server",
        _ELSEWHERE,
        "/graphs/say/events",
        _graph_input,
        elsewhere=_ON_POSTGRES,
    ),
    "serve-elsewhere-nats": Kind(
        "the same, by NATS",
        (*_ELSEWHERE, *_BY_NATS),
        "/graphs/say/events",
        _graph_input,
        elsewhere=(*_ON_POSTGRES, *_BY_NATS),
    ),
    "serve-event-protocol": Kind(
        "tokenweir serve, LangGraph's event protocol",
        _ON_DISK,
        f"/threads/{_THREAD}/stream/events",
        _channels,
        starts=(f"/threads/{_THREAD}/commands", _command),
    ),
    "serve-agui": Kind("tokenweir serve, AG-UI", _ON_DISK, "/agui/say?on_disconnect=cancel", _agui),
    "serve-ai-sdk": Kind(
        "tokenweir serve, the AI SDK's stream", _ON_DISK, "/ai/say?on_disconnect=cancel", _ai_sdk
    ),
}

MEANINGS = {name: kind.meaning for name, kind in SERVERS.items()}


class Running:
    """A server's process, ready for requests; it ends with ``with``."""

    def __init__(self, name: str, upstream: str, folder: Path) -> None:
        self._kind = SERVERS[name]
        self._folder, self._upstream = folder, upstream
        self._postgres: EmbeddedPostgres | None = None
        self.beside: list[int] = []
        """Other processes that work for this server: a Postgres, another server."""
        if "{postgres}" in self._kind.command or name == "aegra":
            self._postgres = EmbeddedPostgres(folder / "postgres")
            self._postgres.start()
            said = (folder / "postgres" / "data" / "postmaster.pid").read_text().split("\n")[0]
            self.beside.append(int(said))
        self._processes = list[subprocess.Popen[bytes]]()
        self._said = folder / "said"
        self._said.touch()
        self._nats = _free_port()
        if "--live" in self._kind.command:
            command = [f"{sysconfig.get_path('scripts')}/nats-server", "--addr", "127.0.0.1"]
            self._processes.append(
                subprocess.Popen([*command, "--port", str(self._nats), "-l", os.devnull])
            )
            self._wait(self._processes[-1], self._nats)
        self._more = dict[str, str]()
        python = sys.executable
        if name == "aegra":
            python, self._more = str(aegra.python()), aegra.settings(folder, self._url())
            self._processes.append(aegra.start_redis(folder))
        if self._kind.elsewhere:
            self._wait(self._start(self._kind.elsewhere, python), self.port)
        self.beside += [each.pid for each in self._processes]
        self.ports, self.pids = list[int](), list[int]()
        for _ in range(max(1, self._kind.processes)):
            self.pids.append(self._start(self._kind.command, python).pid)
            self.ports.append(self.port)
            if self._kind.processes > 1:  # the first makes the tables
                self._wait(self._processes[-1], self.port)
        if self._kind.processes == 0:
            pin(self.pids[0], 0)
            for each in self.beside:
                pin(each, 1)

    def _url(self) -> str:
        return "" if self._postgres is None else self._postgres.url()

    def _start(self, command: tuple[str, ...], python: str) -> subprocess.Popen[bytes]:
        self.port = _free_port()
        given = {"port": self.port, "folder": self._folder, "nats": self._nats}
        given["postgres"] = self._url()
        words = [word.format(**given) for word in command]
        self._said = self._folder / f"said-{self.port}"
        # Some servers log clients that leave in the middle, at length.
        with self._said.open("w") as said:
            process = subprocess.Popen(
                [python, "-m", *words],
                cwd=ROOT,
                env={**environment(), "BENCH_UPSTREAM": self._upstream, **self._more},
                stdout=said,
                stderr=said,
            )
        self._processes.append(process)
        return process

    def request(self, prompt: str) -> str:
        """The whole request for one stream."""
        return self._post(self._kind.path, self._kind.body(prompt), "keep-alive")

    def starting(self, prompt: str) -> str:
        """The whole request to send before that; "" for none."""
        if self._kind.starts is None:
            return ""
        path, body = self._kind.starts
        return self._post(path, body(prompt), "close")

    def _post(self, path: str, given: object, connection: str) -> str:
        body = json.dumps(given)
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n"
            f"connection: {connection}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head + body

    def __enter__(self) -> Running:
        self._wait(self._processes[-1], self.port)
        return self

    def _wait(self, process: subprocess.Popen[bytes], port: int) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    self._end()
                    reason = self._said.read_text()[-2000:]
                    raise RuntimeError(f"{self._kind.meaning} did not start: {reason}") from None
                time.sleep(0.05)
            else:
                return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        if self._postgres is not None:
            self._postgres.stop("immediate")


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
