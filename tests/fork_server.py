"""Starts ``tokenweir`` processes that have imported everything already.

Importing LangGraph and the openai SDK costs a process some seconds. One process of each test worker
imports them, and forks for each command: a process of its own, with its own folder, environment and
pipes, that can be signalled, killed and waited for as one that was started from the beginning.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import itertools
import json
import os
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

__all__ = ["ForkedProcess", "run", "start"]

_IMPORTED = (
    "httpcore2",
    "tokenweir.cli.serve",
    "tokenweir.models.chat",
    "tokenweir.serving.app",
    "tokenweir.serving.running.data_folder",
    "uvicorn",
)
"""What a server imports as it starts."""

_ROOT = Path(__file__).parent.parent


class ForkedProcess:
    """One command; as ``subprocess.Popen`` with pipes and ``text=True``."""

    def __init__(self, pid: int, stdout: TextIO, stderr: TextIO) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._ended = threading.Event()

    def ended(self, status: int) -> None:
        """The process is gone, with a status of ``os.waitpid``."""
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout) or self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _ForkServer:
    """The process that forks, and who hears from it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=_ROOT,
            # With threads of its own numpy could not be forked.
            env={**os.environ, "PYTHONWARNINGS": "default", "OPENBLAS_NUM_THREADS": "1"},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._pipes: dict[int, tuple[TextIO, TextIO]] = {}
        self._begun: dict[int, ForkedProcess] = {}
        self._running: dict[int, ForkedProcess] = {}
        self._news = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        atexit.register(self._close)

    def start(self, order: dict[str, Any]) -> ForkedProcess:
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        pipes = os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8")
        with self._lock:
            number = next(self._numbers)
            self._pipes[number] = pipes
            message = json.dumps({"number": number, **order}).encode()
            socket.send_fds(self._socket, [message], [out_end, err_end])
        os.close(out_end)
        os.close(err_end)
        with self._news:
            self._news.wait_for(lambda: number in self._begun)
            return self._begun.pop(number)

    def _listen(self) -> None:
        while message := self._socket.recv(1 << 16):
            number, pid, status = json.loads(message)
            with self._news:
                if status is not None:
                    self._running.pop(pid).ended(status)
                    continue
                process = ForkedProcess(pid, *self._pipes.pop(number))
                self._running[pid] = self._begun[number] = process
                self._news.notify_all()

    def _close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._listener.join(60)
        self._socket.close()
        self._process.wait(60)


_server: list[_ForkServer] = []


def start(
    words: list[str],
    folder: Path,
    environ: dict[str, str],
    files: tuple[int, int] | None = None,
) -> ForkedProcess:
    """Start ``tokenweir WORDS``.

    Args:
        words: The command's.
        folder: In which it runs.
        environ: Its environment, and nothing more.
        files: How many files it may open: soft and hard, as ``ulimit -n``.
    """
    if not _server:
        _server.append(_ForkServer())
    order = {"words": words, "folder": str(folder), "environ": environ, "files": files}
    return _server[0].start(order)


def run(words: list[str], folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``tokenweir WORDS`` to its end; with more in the environment."""
    process = start(words, folder, {**os.environ, **environ})
    with process.stdout, process.stderr:
        said = process.stdout.read(), process.stderr.read()
    return subprocess.CompletedProcess(words, process.wait(60), *said)


def _serve(connection: socket.socket) -> None:
    """Fork for every message; tell which processes began, and how they ended."""
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # what is there is shared, and not looked through by each process

    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([connection.fileno(), wake], [], [])
        if wake in ready:
            os.read(wake, 1 << 16)
            _tell_ended(connection)
        if connection.fileno() in ready:
            message, fds = _received(connection)
            if not message:
                return
            order = json.loads(message)
            if not (pid := os.fork()):
                os.close(wake)
                os.close(woken)
                connection.close()
                _run(order, fds)
            for fd in fds:
                os.close(fd)
            connection.send(json.dumps([order["number"], pid, None]).encode())


def _received(connection: socket.socket) -> tuple[bytes, list[int]]:
    message, ancillary, _, _ = connection.recvmsg(1 << 20, socket.CMSG_SPACE(8))
    fds = array.array("i")
    for _, _, data in ancillary:
        fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return message, list(fds)


def _tell_ended(connection: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        connection.send(json.dumps([None, pid, status]).encode())


def _run(order: dict[str, Any], fds: list[int]) -> None:
    """Become the command."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for fd, place in zip(fds, (1, 2), strict=True):
        os.dup2(fd, place)
        os.close(fd)
    if order["files"] is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, tuple(order["files"]))
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environ"])
    random.seed()
    sys.argv = ["tokenweir", *order["words"]]
    from tokenweir.cli import main

    code = 1
    try:
        main()  # it always exits
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        _serve(connection)
