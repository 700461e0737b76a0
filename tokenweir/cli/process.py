"""Run a coroutine as the process's work, and end the process.

Ctrl-C cancels the work, which closes the model's connection. Work that does not stop is abandoned,
so the process ends promptly either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, NoReturn, TypeVar

__all__ = ["Stopped", "leave", "run_to_end"]

T = TypeVar("T")

_PATIENCE = 2.0
"""Seconds that interrupted work has to stop; closing a connection takes milliseconds."""

_LINGER = 0.3
"""Seconds that threads have to finish after everything else; idle ones end at once."""


class Stopped(BaseException):
    """Raised after a signal, once all work has been cancelled."""

    def __init__(self, number: int) -> None:
        self.signal = int(number)
        super().__init__(f"stopped by signal {int(number)}")


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in its own event loop until it ends or a signal arrives.

    Unlike ``asyncio.run``, this does not wait for threads: a node in a blocking call must not keep
    a process alive that was told to stop.

    Raises:
        Stopped: After SIGINT or SIGTERM, once the work has been cancelled.
    """
    loop = asyncio.new_event_loop()
    threads = ThreadPoolExecutor(thread_name_prefix="tokenweir-node")
    loop.set_default_executor(threads)
    task = loop.create_task(work)
    with _Signals(loop, task) as signals:
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            if signals.came is None:
                raise
            raise Stopped(signals.came) from None
        finally:
            _close(loop)
            threads.shutdown(wait=False, cancel_futures=True)


class _Signals:
    """While entered, the first SIGINT or SIGTERM cancels the task; the second ends the process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        self.came: int | None = None
        self._loop = loop
        self._task = task
        self._before: dict[int, Any] = {}
        self._patience: threading.Timer | None = None

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # Not loop.add_signal_handler: a node that blocks the loop would delay it.
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._patience is not None:
            self._patience.cancel()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.came is not None:
            _abandon(128 + number)
        self.came = number
        self._patience = threading.Timer(_PATIENCE, _abandon, [128 + number])
        self._patience.daemon = True
        self._patience.start()
        self._loop.call_soon_threadsafe(self._task.cancel)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the tasks that the work left running, let them finish, close the loop."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=_PATIENCE))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _abandon(code: int) -> NoReturn:
    """End the process at once, from any thread, and restore the terminal's cursor."""
    with contextlib.suppress(OSError):
        if sys.__stdout__ is not None and sys.__stdout__.isatty():
            os.write(sys.__stdout__.fileno(), b"\x1b[?2026l\x1b[?25h\x1b[0m\r\n")
    os._exit(code)


def leave(code: int) -> NoReturn:
    """End the process with an exit code, without waiting for threads that block."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process is ending already
    for file in (sys.stdout, sys.stderr):
        try:
            file.flush()
        except (OSError, ValueError):
            # Python flushes again at exit, and would report that the reader has gone.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
    others = [thread for thread in threading.enumerate() if _keeps_the_process(thread)]
    for thread in others:
        thread.join(_LINGER)
    if any(thread.is_alive() for thread in others):
        os._exit(code)
    sys.exit(code)


def _keeps_the_process(thread: threading.Thread) -> bool:
    return not thread.daemon and thread is not threading.current_thread()
