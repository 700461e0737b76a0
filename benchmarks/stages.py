"""The cost of stages alone, and the time until a late reader has a run, in each home.

``python -m benchmarks.stages``. There is no provider and no server: the tokens exist already, and
the best of several rounds counts.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessageChunk
from typing_extensions import TypedDict

from tokenweir import guard, objects, tag
from tokenweir.serving.event_protocol.frames import RunFrames
from tokenweir.serving.event_protocol.subscription import CHANNELS, Subscription
from tokenweir.serving.log.memory import MemoryLog
from tokenweir.serving.log.sqlite import SqliteLog
from tokenweir.serving.postgres.embedded import EmbeddedPostgres
from tokenweir.serving.postgres.home import postgres_home
from tokenweir.serving.running.compaction import LateReader
from tokenweir.serving.running.encoding import TokenEncoder
from tokenweir.serving.sse.frames import Frames
from tokenweir.testing.homes.making import a_run, claimed, created

__all__ = ["main"]

_ROUNDS = 7
_TOKENS = 10_000
_LOGGED = 100_000
_METADATA: dict[str, Any] = {"langgraph_node": "write", "tags": ["answer"], "langgraph_step": 1}


_RUN = a_run(turn=1)


class _Story(TypedDict):
    title: str
    text: str


def _said(texts: list[str]) -> Iterator[tuple[AIMessageChunk, dict[str, Any]]]:
    for text in texts:
        yield AIMessageChunk(content=text, id="a"), _METADATA
    yield AIMessageChunk(content="", id="a", chunk_position="last"), _METADATA


def _best(work: Callable[[], Any]) -> float:
    """Seconds of CPU time of the fastest round."""
    found = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def _stages() -> Iterator[tuple[str, float]]:
    words = [f" word{number % 97}" for number in range(_TOKENS)]
    json = ['{"title": "Cats", "text": "', *words, '"}']
    plain = _best(lambda: sum(1 for _ in _said(words)))
    checks: dict[str, Any] = {
        "a regular expression": r"sk-[A-Za-z0-9]{20,}",
        "three that begin often": r"word\d+ secret|\bw[a-z]+x\b|[a-z]+@[a-z]+",
        "a function": lambda text: "secret" in text,
    }
    for name, check in checks.items():
        stage = guard(tag("answer"), check)
        spent = _best(lambda stage=stage: sum(1 for _ in stage(_said(words))))  # type: ignore[misc]
        yield f"guard, {name}", (spent - plain) / _TOKENS * 1e6
    spent = _best(lambda: sum(1 for _ in objects(_said(json), _Story)))
    yield "objects", (spent - plain) / _TOKENS * 1e6


async def _write(log: Any, epoch: int) -> None:
    """Write a long run that is not over."""
    writer, encoder = await log.writer(_RUN.id, epoch), TokenEncoder(run_id=_RUN.id)
    for number in range(_LOGGED):
        chunk = AIMessageChunk(content=f" word{number % 97}", id=f"m{number * 3 // _LOGGED}")
        body, envelope = encoder.encode("messages", chunk, _METADATA)
        writer.append("messages", body, envelope=envelope)
        if number % 1000 == 0:
            await writer.ready()
            await asyncio.sleep(0)
    await writer.saved()


async def _sse(log: Any, *, compact: bool) -> None:
    """Encode the run so far as plain server-sent events."""
    frames, last = Frames(_RUN), await log.last_id(_RUN.id)
    reader = LateReader(log, _RUN.id) if compact else log.follow(_RUN.id)
    async for events in reader:
        frames.encode(events)
        if events[-1].id >= last:
            break
    await reader.aclose()


async def _event_protocol(log: Any, *, compact: bool) -> None:
    """Encode the run so far in LangGraph's event protocol."""
    last = await log.last_id(_RUN.id)
    frames = RunFrames(_RUN, Subscription(CHANNELS), compact=compact)
    if compact:
        await log.scan(_RUN.id, last, frames.take)
        assert frames.taken()
        return
    reader = log.follow(_RUN.id)
    async for events in reader:
        frames.encode(events)
        if events[-1].id >= last:
            break
    await reader.aclose()


async def _late(log: Any) -> AsyncIterator[tuple[str, float, float]]:
    """Milliseconds until the run so far is encoded, added up and in full: CPU time, wall clock."""
    for protocol, join in (("plain SSE", _sse), ("event protocol", _event_protocol)):
        for name, compact in (("added up", True), ("in full", False)):
            found = []
            for _ in range(_ROUNDS):
                began, spent = time.perf_counter(), time.process_time()
                await join(log, compact=compact)
                spent = time.process_time() - spent
                found.append((spent * 1e3, (time.perf_counter() - began) * 1e3))
            yield f"{protocol}, {name}", *map(min, zip(*found, strict=True))


async def _print_late(home: str, log: Any) -> None:
    async for name, spent, lasted in _late(log):
        print(f"late reader {home}, {name}: {spent:.0f} ms, {lasted:.0f} by the clock")


async def _joins() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for home, log in (
            ("in memory", MemoryLog()),
            ("in a folder", SqliteLog(Path(folder) / "events.sqlite")),
        ):
            await _write(log, 1)
            await _print_late(home, log)
            await log.close()


async def _joins_on_postgres() -> None:
    """At the server that executes the run, and at another one, which only has the database."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder)) as postgres:
        opened = postgres_home(postgres.url(), {})
        async with opened() as home, opened() as other:
            await created(home, _RUN)
            [hold] = await claimed(home)
            await _write(home.log, hold.run.attempt)
            await _print_late("on Postgres", home.log)
            await _print_late("on Postgres, at another server", other.log)


def main() -> None:
    """Print all figures."""
    for name, spent in _stages():
        print(f"{name}: {spent:.1f} µs per token")
    asyncio.run(_joins())
    asyncio.run(_joins_on_postgres())


if __name__ == "__main__":
    main()
