"""Where the CPU time of one call goes: ``python -m benchmarks.call [WAY ...]``.

Each way in turn reads a reply of one token again and again. A timer of CPU time interrupts it, and
the sample goes to the package whose Python function is running; code written in C counts for the
function that called it. The figures are microseconds per call.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import tokenweir
from benchmarks.processes import Server
from benchmarks.script import Script
from benchmarks.ways import make
from benchmarks.ways.base import SyncWay, Task, Way

__all__ = ["main"]

_WARM_UP = 100
_ROUNDS, _CALLS = 20, 100
_EVERY = 0.001
_PACKAGE = str(Path(tokenweir.__file__).parent)
_LIBRARY = str(Path(asyncio.__file__).parent.parent)


def _package(file: str) -> str:
    if file.startswith(_PACKAGE):
        return "tokenweir"
    if "site-packages" in file:
        return Path(file.partition("site-packages/")[2]).parts[0].removesuffix(".py")
    if file.startswith(str(Path(asyncio.__file__).parent)):
        return "asyncio"
    return "Python" if file.startswith((_LIBRARY, "<")) else "benchmarks"


class _Sampled:
    """A way, and the number of samples of each package."""

    def __init__(self, way: Way, loop: asyncio.AbstractEventLoop) -> None:
        self._way = way
        self._loop = loop
        self._samples: Counter[str] = Counter()
        self._spent = 0.0
        self._calls = 0
        self._reply(_WARM_UP)

    def measure(self, calls: int) -> None:
        """Make this many calls."""
        gc.collect()
        before = signal.signal(signal.SIGPROF, self._sample)
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, _EVERY, _EVERY)
        self._reply(calls)
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._spent += time.process_time() - began
        self._calls += calls
        signal.signal(signal.SIGPROF, before)

    def figures(self) -> dict[str, float]:
        """Microseconds per call, by package."""
        each = 1e6 * self._spent / self._calls / self._samples.total()
        return {package: each * count for package, count in self._samples.items()}

    def _sample(self, number: int, frame: FrameType | None) -> None:
        if frame is not None:
            self._samples[_package(frame.f_code.co_filename)] += 1

    def _reply(self, times: int) -> None:
        prompt = Script().prompt()
        for _ in range(times):
            self._loop.run_until_complete(self._way.reply(prompt, lambda: None))


def main() -> None:
    """Print the table."""
    names = sys.argv[1:] or ["plain", "ours", "chatopenai", "chat_model"]
    with Server() as server:
        ways, loop = {}, asyncio.new_event_loop()  # LangChain's models share connections
        for name in names:
            way = make(name, Task(server.base_url))
            if isinstance(way, SyncWay):
                raise SystemExit(f"{name} is sync")
            ways[name] = _Sampled(way, loop)
        for _ in range(_ROUNDS):
            for each in ways.values():
                each.measure(_CALLS)
    table = {name: each.figures() for name, each in ways.items()}
    packages = sorted({package for figures in table.values() for package in figures})
    packages.sort(key=lambda each: -max(figures.get(each, 0) for figures in table.values()))
    rows = [["", *names], ["all", *(f"{sum(table[name].values()):.0f}" for name in names)]]
    rows += [[each, *(f"{table[name].get(each, 0):.0f}" for name in names)] for each in packages]
    for first, *figures in rows:
        print(f"{first:18}", *(f"{figure:>12}" for figure in figures))


if __name__ == "__main__":
    main()
