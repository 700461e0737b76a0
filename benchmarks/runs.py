"""The cost of a run besides its tokens, in each home: ``python -m benchmarks.runs``.

A graph of one node that writes nothing is run many times, several at once. A run is a row in the
store, a record and its checkpoints. The figures are CPU time of this process and of Postgres, in
the best of several rounds.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from tokenweir import node
from tokenweir.serving.postgres.embedded import EmbeddedPostgres
from tokenweir.serving.postgres.home import postgres_home
from tokenweir.serving.problems import Limits
from tokenweir.serving.running.data_folder import data_folder
from tokenweir.serving.running.home import Home, in_memory
from tokenweir.serving.running.records import RunRequest
from tokenweir.serving.running.runs import Runs

__all__ = ["main"]

_ROUNDS = 5
_RUNS = 300
_AT_ONCE = 30


class _State(TypedDict, total=False):
    text: str


@node
async def _say(state: _State) -> _State:
    return {"text": "said"}


_GRAPHS: dict[str, Any] = {
    "graph": StateGraph(_State).add_node("say", _say).add_edge(START, "say").compile()
}


def _cpu_of(postgres: Path) -> float:
    """CPU seconds of a Postgres and of its processes: Linux has a clock of this number for each."""
    pid = int((postgres / "data" / "postmaster.pid").read_text().split("\n")[0])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(time.clock_gettime((~each << 3) | 2) for each in (pid, *map(int, children)))


async def _round(runs: Runs) -> None:
    async def some() -> None:
        for _ in range(_RUNS // _AT_ONCE):
            run = await runs.start(RunRequest(graph="graph", input={"text": "x" * 500}))
            await runs.wait(run.id)

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))


async def _measure(
    name: str,
    opened: Callable[[], AbstractAsyncContextManager[Home]],
    beside: Callable[[], float] = lambda: 0.0,
) -> None:
    """``beside`` returns the CPU seconds that another process has used so far."""
    found = []
    async with opened() as home, Runs(_GRAPHS, home, Limits(runs=_AT_ONCE)) as runs:
        for _ in range(_ROUNDS):
            began, here, there = time.perf_counter(), time.process_time(), beside()
            await _round(runs)
            spent = time.process_time() - here, beside() - there
            found.append((*spent, time.perf_counter() - began))
    here, there, lasted = (best * 1e3 / _RUNS for best in map(min, zip(*found, strict=True)))
    print(f"{name}: {here:.1f} ms a run, {there:.1f} ms beside; {1e3 / lasted:.0f} runs/s")


def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure("in memory", in_memory))
        asyncio.run(_measure("in a folder", data_folder(Path(folder) / "data", _GRAPHS)))
        with EmbeddedPostgres(Path(folder) / "postgres") as postgres:
            beside = partial(_cpu_of, Path(folder) / "postgres")
            opened = postgres_home(postgres.url(), _GRAPHS)
            asyncio.run(_measure("on Postgres", opened, beside))


if __name__ == "__main__":
    main()
