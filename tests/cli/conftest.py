"""Running the command line: in this process for what it says, as a process for how it ends."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyte
import pytest

from tokenweir.cli.main import execute
from tokenweir.testing import Provider

SAMPLES = Path(__file__).parent / "sample_graphs.py"


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def _placed(words: tuple[str, ...]) -> list[str]:
    """The words, with ``sample:name`` made a path."""
    return [word.replace("sample:", f"{SAMPLES}:", 1) for word in words]


@pytest.fixture
def tokenweir(
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Callable[..., Ended]:
    """Runs a command in this process, in an empty folder, with the scripted provider as OpenAI."""
    for name, value in provider.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TOKENWEIR_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Ended:
        # Other tests have built ready graphs, with the models of their environments.
        for name, module in list(sys.modules.items()):
            if name.startswith("tokenweir.graphs."):
                vars(module).pop("graph", None)
        capsys.readouterr()
        code = execute(_placed(words))
        return Ended(code, *capsys.readouterr())

    return run


class Terminal:
    """A pseudo terminal: a real one to the process, a screen to the test."""

    def __init__(self, columns: int, lines: int) -> None:
        self.screen = pyte.HistoryScreen(columns, lines, history=10_000)
        self._stream = pyte.ByteStream(self.screen)
        self._master, self.device = os.openpty()
        self._news = threading.Condition()
        self.raw = b""
        self.resize(columns, lines)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # everybody has closed the other end
                return
            with self._news:
                self.raw += data
                self._stream.feed(data)
                self._news.notify_all()

    @property
    def text(self) -> str:
        """Everything on the screen and above it."""
        above = ["".join(row[x].data for x in sorted(row)) for row in self.screen.history.top]
        return "\n".join(line.rstrip() for line in above + self.screen.display).rstrip()

    def wait_for(self, what: str) -> None:
        """Wait until this is on the screen."""
        with self._news:
            assert self._news.wait_for(lambda: what in self.text, 60), self.text

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size; the process is told by the kernel."""
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        with self._news:
            self.screen.resize(lines, columns)

    def own(self) -> None:
        """Called in a new session's process: make this its terminal."""
        fcntl.ioctl(self.device, termios.TIOCSCTTY, 0)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def close(self) -> None:
        """Hang up."""
        os.close(self.device)
        os.close(self._master)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal of 80 x 20 cells."""
    terminal = Terminal(80, 20)
    yield terminal
    terminal.close()


@pytest.fixture
def start(provider: Provider, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command as a process of its own; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(*words: str, env: dict[str, str] | None = None, **options: Any) -> Any:
        # A size in the environment would be believed before the terminal's own.
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        process = subprocess.Popen(
            [sys.executable, "-m", "tokenweir", *_placed(words)],
            env={
                **inherited,
                **provider.environ,
                "PYTHONWARNINGS": "error",
                "PYTHONUNBUFFERED": "",
                **(env or {}),
            },
            cwd=tmp_path,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
