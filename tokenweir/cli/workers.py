"""``tokenweir serve --workers``: several servers at one port, each a process of its own.

The kernel gives each new connection to one of them (SO_REUSEPORT). If one dies, the others take
over its runs and it is restarted. The workers end with this process, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import click

__all__ = ["NUMBER", "end_with_parent", "serve_with_workers"]

NUMBER = "TOKENWEIR_WORKER"
"""The environment variable that gives a worker its number."""

_PAUSES = (1.0, 30.0)
"""Seconds until a worker that ended is restarted: the first time, and at most."""

_LOOK = 1.0
"""Seconds between two checks of the Postgres."""


def end_with_parent() -> None:
    """End this worker, as by SIGTERM, once the process that started it is gone."""

    def wait() -> None:
        while os.read(0, 1 << 10):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def serve_with_workers(count: int, words: Sequence[str], shown: str, data: str) -> int:
    """Serve from ``count`` processes until told to stop; return the exit code.

    Args:
        count: The number of processes.
        words: The arguments of ``tokenweir serve``; the options set here override them.
        shown: The server's URL, whose port is reserved.
        data: The URL of a Postgres, or a folder for one.
    """
    with _postgres(data, count) as (url, postgres):
        port = shown.rpartition(":")[2]
        command = [sys.executable, "-m", "tokenweir", "serve", *words]
        command += [f"--port={port}", f"--data={url}", "--workers=1"]
        return _Workers(command, count, shown, postgres).run()


@contextlib.contextmanager
def _postgres(data: str, workers: int) -> Iterator[tuple[str, Any]]:
    """The URL of the workers' data, and the Postgres if it is their own."""
    if "://" in data:
        yield data, None
        return
    from tokenweir.serving.postgres.embedded import EmbeddedPostgres
    from tokenweir.serving.running.data_folder import locked

    with (
        locked(Path(data)),
        EmbeddedPostgres(
            Path(data) / "postgres", f"max_connections = {20 * workers + 20}"
        ) as postgres,
    ):
        yield postgres.url(), postgres


class _Worker:
    """One process, restarted when it ends.

    Attributes:
        ready: Whether it accepts connections.
        again: Whether it has been restarted.
    """

    def __init__(self, number: int, command: Sequence[str], inbox: queue.SimpleQueue[Any]) -> None:
        self.number = number
        self.ready = False
        self.again = False
        self._command = command
        self._inbox = inbox
        self._pause = _PAUSES[0]
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.ready = False
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,  # closes when this process ends
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, NUMBER: str(self.number)},
            start_new_session=True,  # Ctrl-C reaches only this process
        )
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if self.ready:
                sys.stdout.write(line)
                sys.stdout.flush()
            else:
                self.ready, self._pause = True, _PAUSES[0]
                self._inbox.put(self)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        self._inbox.put(self)

    @property
    def ended(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def start_soon(self) -> None:
        timer = threading.Timer(self._pause, self._inbox.put, [self.start])
        timer.daemon = True
        timer.start()
        self.process, self.again = None, True
        self._pause = min(2 * self._pause, _PAUSES[1])

    def send(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class _Workers:
    """All of them."""

    def __init__(self, command: Sequence[str], count: int, shown: str, postgres: Any) -> None:
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._workers = [_Worker(number, command, self._inbox) for number in range(1, count + 1)]
        self._shown = shown
        self._postgres = postgres
        self._told = False
        self._stopping = False
        self._failed = False

    def run(self) -> int:
        with self._signals():
            for worker in self._workers:
                worker.start()
            while not self._over:
                try:
                    message = self._inbox.get(timeout=_LOOK)
                except queue.Empty:
                    self._look_at_postgres()
                    continue
                if isinstance(message, _Worker):
                    self._changed(message)
                elif not self._stopping:
                    message()
        return 1 if self._failed else 0

    @property
    def _over(self) -> bool:
        return self._stopping and all(
            each.process is None or each.ended is not None for each in self._workers
        )

    def _changed(self, worker: _Worker) -> None:
        """A worker is ready, or has ended."""
        if not self._told and all(each.ready for each in self._workers):
            self._told = True
            click.echo(self._shown)
            sys.stdout.flush()
        if self._stopping:
            return
        if (code := worker.ended) is None:
            if worker.again:
                click.echo(f"tokenweir: worker {worker.number} is back", err=True)
            return
        if not self._told:  # the worker has printed why
            self._failed = True
            self._stop()
            return
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        click.echo(f"tokenweir: worker {worker.number} ended ({how}); restarting it", err=True)
        worker.start_soon()

    def _stop(self) -> None:
        self._stopping = True
        for worker in self._workers:
            worker.send(signal.SIGTERM)

    def _look_at_postgres(self) -> None:
        if self._postgres is None or self._stopping or self._postgres.runs:
            return
        from tokenweir.errors import TokenweirError

        click.echo("tokenweir: Postgres ended; restarting it", err=True)
        try:
            self._postgres.start()
        except TokenweirError as error:
            click.echo(f"tokenweir: {error}", err=True)
            time.sleep(_PAUSES[0])

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def on_signal(number: int, frame: FrameType | None) -> None:
            if self._stopping:
                for worker in self._workers:
                    worker.send(signal.SIGKILL)
            self._stop()
            self._inbox.put(self._stop)  # wakes ``run``

        before = {
            number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for worker in self._workers:
                worker.send(signal.SIGKILL)
