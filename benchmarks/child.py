"""The measured process: ``python -m benchmarks.child``, which reads jobs from standard input.

Jobs and answers are lines of JSON. The process runs one way, and does nothing else that takes time:
its parent does the rest. It ends when its standard input ends.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.script import Script
from benchmarks.ways import make
from benchmarks.ways.base import SyncWay, Task, Way

__all__ = ["Measured"]


@dataclass(frozen=True)
class Measured:
    """The result of a measurement.

    Args:
        cpu: Seconds of this process's CPU time, in all its threads.
        wall: Seconds of wall-clock time.
        first: Seconds from the call to the first token, the median over the replies.
        memory: Bytes by which the process had grown when every reply had its first token.
    """

    cpu: float
    wall: float
    first: float
    memory: int = 0


class Child:
    """Reads replies by one way, in one event loop or in threads, and measures the time."""

    def __init__(self, name: str, task: Task) -> None:
        self._way = make(name, task)
        self._expect_none = task.filtered
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._pool = ThreadPoolExecutor(max_workers=1024)

    def replies(self, script: Script, streams: int, repeat: int) -> Measured:
        """Read ``streams`` replies concurrently, ``repeat`` times in sequence."""
        gc.collect()
        firsts: list[float] = []
        counts: list[int] = []
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(repeat):
            if streams == 1:
                counts = [self._one(script, firsts)]
            else:
                counts = self._loop.run_until_complete(self._many(script, streams, firsts))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        self._check(script, counts)
        return Measured(cpu, wall, median(firsts) if firsts else 0.0)

    def memory(self, script: Script, streams: int) -> Measured:
        """The growth of the process while ``streams`` replies stay open after their first token."""
        return self._loop.run_until_complete(self._held(script, streams))

    def _one(self, script: Script, firsts: list[float]) -> int:
        start = time.perf_counter()

        def first() -> None:
            firsts.append(time.perf_counter() - start)

        if isinstance(self._way, SyncWay):
            return self._way.reply(script.prompt(), first)
        return self._loop.run_until_complete(self._way.reply(script.prompt(), first))

    async def _many(self, script: Script, streams: int, firsts: list[float]) -> list[int]:
        start = time.perf_counter()

        def first() -> None:
            firsts.append(time.perf_counter() - start)

        way, prompt = self._way, script.prompt()
        if isinstance(way, SyncWay):
            run = self._loop.run_in_executor
            calls = [run(self._pool, way.reply, prompt, first) for _ in range(streams)]
            return list(await asyncio.gather(*calls))
        return list(await asyncio.gather(*(way.reply(prompt, first) for _ in range(streams))))

    async def _held(self, script: Script, streams: int) -> Measured:
        if not isinstance(self._way, Way):
            raise TypeError("the memory of open streams is measured for async ways only")
        way, prompt = self._way, script.prompt()
        all_there = asyncio.Event()
        there = 0

        def first() -> None:
            nonlocal there
            there += 1
            if there == streams:
                all_there.set()

        gc.collect()
        before = _resident()
        tasks = [asyncio.ensure_future(way.reply(prompt, first)) for _ in range(streams)]
        failed = asyncio.ensure_future(asyncio.wait(tasks, return_when="FIRST_COMPLETED"))
        held = asyncio.ensure_future(all_there.wait())
        await asyncio.wait([failed, held], return_when="FIRST_COMPLETED")
        if failed.done():
            raise RuntimeError(f"a reply ended that was to stay open: {failed.result()[0]}")
        gc.collect()
        grown = _resident() - before
        failed.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return Measured(0.0, 0.0, 0.0, grown)

    def _check(self, script: Script, counts: list[int]) -> None:
        expected = 0 if self._expect_none else script.pieces()
        wrong = [count for count in counts if count != expected]
        if wrong and (self._way.exact or 0 in wrong):
            raise RuntimeError(f"{wrong[0]} chunks were read of a reply that has {expected}")


def _resident() -> int:
    """Bytes of memory of this process; on Linux with its share of shared pages (Pss)."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no Pss in /proc/self/smaps_rollup")


def _do(child: Child, job: dict[str, Any]) -> Measured:
    script = Script(**job["script"])
    if job["memory"]:
        return child.memory(script, job["streams"])
    return child.replies(script, job["streams"], job["repeat"])


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with answers
    child: Child | None = None
    for line in sys.stdin:
        job = json.loads(line)
        answer: dict[str, Any]
        try:
            if child is None:
                child = Child(job["way"], Task(**job["task"]))
                answer = {"ready": True}
            else:
                answer = asdict(_do(child, job))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the parent tells the user
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
    os._exit(0)  # without closing what clients still have open


if __name__ == "__main__":
    _main()
