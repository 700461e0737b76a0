"""The embedded model: llama.cpp on this machine, behind OpenAI's protocol on a loopback port.

It runs in a child process that ends with this one. llama.cpp's server cannot be torn down while it
generates, so in the same process the interpreter would crash on exit; its output, memory use and
faults would also affect the user's process.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tokenweir.errors import EmbeddedModelError
from tokenweir.models.embedded import weights

__all__ = ["Endpoint", "start_model"]


@dataclass(frozen=True)
class Endpoint:
    """The address of a running embedded model.

    Attributes:
        base_url: Its URL, with ``/v1``.
        model: The model's name. It answers to any other name as well.
        pid: The id of its process.
        api_key: A key for clients that require one.
    """

    base_url: str
    model: str
    pid: int
    api_key: str = "none"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables for OpenAI clients: ``os.environ.update(...)``."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": self.api_key}

    def wait(self) -> None:
        """Block until its process ends."""
        for server in list(_servers.values()):
            if server.process.pid == self.pid:
                server.process.wait()


class _Server:
    """One running child process."""

    def __init__(self, gguf: Path, port: int) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tokenweir.models.embedded._server", str(gguf), str(port)],
            stdin=subprocess.PIPE,  # never written to: it closes when this process ends, however
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("TOKENWEIR_DEBUG") else self.log,
            # This process handles Ctrl-C, not the model.
            start_new_session=True,
            text=True,
        )
        self.endpoint = self._wait(gguf, port)

    def _wait(self, gguf: Path, port: int) -> Endpoint:
        said = _stream(self.process.stdout)
        for line in said:
            word, _, rest = line.strip().partition(" ")
            if word == "ready":
                return Endpoint(f"{rest}/v1", gguf.stem, self.process.pid)
            if word == "failed":
                self.stop()
                raise EmbeddedModelError(_failure(gguf, port, rest))
        code = self.process.wait()
        self.stop()
        raise EmbeddedModelError(_failure(gguf, port, f"it ended with code {code}"))

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.log):
            if pipe is not None:
                pipe.close()


_lock = threading.Lock()
_servers: dict[Path, _Server] = {}
_owner = os.getpid()


def start_model(model: str | os.PathLike[str] = "smollm2", *, port: int = 0) -> Endpoint:
    """Start an embedded model, or find it already running; blocks until it answers.

    It answers any client that speaks OpenAI's protocol, on loopback, until this process ends.
    Starting takes about a second; the first start on a machine also downloads the weights.

    Args:
        model: ``smollm2``, or the path of any GGUF file, with or without ``local:`` in front.
        port: The loopback port to use if the model is not running yet; 0 takes a free one.

    Raises:
        EmbeddedModelError: If the model cannot be started; the message says what to do.
    """
    global _servers, _owner
    gguf = _find(os.fspath(model).removeprefix("local:"))
    with _lock:
        if _owner != os.getpid():  # forked: the servers are the parent's
            _servers, _owner = {}, os.getpid()
        running = _servers.get(gguf)
        if running is None or not running.alive:
            if running is not None:
                running.stop()
            running = _servers[gguf] = _Server(gguf, port)
        return running.endpoint


@atexit.register
def _stop_all() -> None:
    if _owner == os.getpid():
        for server in _servers.values():
            server.stop()
        _servers.clear()


def _find(model: str) -> Path:
    if importlib.util.find_spec("xllamacpp") is None:
        raise EmbeddedModelError(
            "the embedded model needs llama.cpp: pip install 'tokenweir[local]'"
        )
    if model == "smollm2":
        return weights.fetch()
    path = Path(model).expanduser()
    if path.suffix != ".gguf" and not path.exists():
        raise EmbeddedModelError(
            f"no embedded model {model!r}: give local:smollm2, or the path of a GGUF file"
        )
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise EmbeddedModelError(f"cannot read {path} ({error.strerror})") from error
    if magic != b"GGUF":
        raise EmbeddedModelError(f"{path} is not a GGUF file: download the model as .gguf")
    return path.resolve()


def _failure(gguf: Path, port: int, reason: str) -> str:
    if "bind" in reason or "listen" in reason:
        return f"port {port} is in use: give another one, or 0 for any free port"
    memory = gguf.stat().st_size * 1.5 / 1e6
    return (
        f"llama.cpp could not load {gguf} ({reason}): the file may be damaged, or there is too "
        f"little memory (it takes about {memory:.0f} MB); TOKENWEIR_DEBUG=1 shows its log"
    )


def _stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
