"""The meter: time to first token, gaps between tokens, tokens per second.

A *token* here is a chunk with content: text, reasoning, a piece of a tool call. A provider may put
several tokens of the model into one chunk. If the provider reports their number, it is
``output_tokens``.
"""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, overload

from langchain_core.messages import BaseMessageChunk

from tokenweir.streaming.calls import CallMetadata
from tokenweir.streaming.content import call_of, pieces, text_of
from tokenweir.streaming.stage import stage
from tokenweir.streaming.token_stream import SyncTokenStream, TokenStream
from tokenweir.types import ReadOnlyMetadata, Token

__all__ = ["CallCounts", "Meter", "MeterReport", "TagReport"]


@dataclass(frozen=True)
class CallCounts:
    """The counts of the calls of one node, agent or model.

    Attributes:
        calls: Model calls.
        tokens: Chunks with content.
        input_tokens: Tokens of the prompts by the provider's count, or None if it sent none.
        output_tokens: Tokens of the answers by the provider's count, or None.
    """

    calls: int
    tokens: int
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True)
class TagReport:
    """The figures of one tag, or of all calls.

    Attributes:
        calls: Model calls.
        tokens: Chunks with content.
        characters: Characters of text in them.
        input_tokens: Tokens of the prompts by the provider's count, or None if it sent none.
        output_tokens: Tokens of the answers by the provider's count, or None.
        time_to_first_token: For a tag, seconds from the start of its first call to the token; for
            all calls, from the start of the watch. Tokenweir's streams know when a call started.
            In another stream a call starts with its first chunk, if that is empty, as the head of
            an answer is.
        latency_p50: The median gap between two tokens of one call, in seconds.
        latency_p99: The 99th percentile of these gaps, in seconds.
        tokens_per_second: Tokens after the first of each call, divided by the time they took.
        not_streamed: Calls whose whole answer came as one chunk or message.

    A figure that cannot be computed is None.
    """

    calls: int
    tokens: int
    characters: int
    input_tokens: int | None
    output_tokens: int | None
    time_to_first_token: float | None
    latency_p50: float | None
    latency_p99: float | None
    tokens_per_second: float | None
    not_streamed: int


@dataclass(frozen=True)
class MeterReport:
    """The figures of all calls and of each tag; ``str()`` makes a table of them.

    Calls without tags are listed under the name of their node. Nodes, agents and models have only
    counts; calls without an agent, or with an unknown model, are left out there.
    """

    total: TagReport
    by_tag: dict[str, TagReport]
    by_node: dict[str, CallCounts]
    by_agent: dict[str, CallCounts]
    by_model: dict[str, CallCounts]

    def __str__(self) -> str:
        rows = [_HEAD, *(_row(tag, report) for tag, report in self.by_tag.items())]
        if len(self.by_tag) != 1:
            rows.append(_row("all", self.total))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if at == 0 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        for tag, report in self.by_tag.items():
            if report.not_streamed:
                lines.append(
                    f"{tag}: {report.not_streamed} of {report.calls} calls came in one chunk: "
                    "not streamed"
                )
        return "\n".join(lines)


_HEAD = ("", "calls", "tokens", "first token", "gap p50", "gap p99", "tokens/s")


def _row(tag: str, report: TagReport) -> tuple[str, ...]:
    rate = report.tokens_per_second
    return (
        tag,
        str(report.calls),
        str(report.tokens),
        _shown(report.time_to_first_token),
        _shown(report.latency_p50),
        _shown(report.latency_p99),
        "-" if rate is None else f"{rate:.1f}",
    )


def _shown(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


class Meter:
    """Measures a stream while it is read, in bounded memory and at a constant cost per token.

    ::

        meter = Meter()
        async for chunk, metadata in meter.watch(astream(graph, inputs)):
            ...
        print(meter.report())

    Args:
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._started: float | None = None
        self._calls: dict[Any, _MeteredCall] = {}
        self._gauges: dict[str, _Gauge] = {}
        self._total = _Gauge()

    def start(self) -> None:
        """Start the clock, unless it is running. ``watch`` does so at the first read."""
        if self._started is None:
            self._started = self._clock()

    def feed(self, chunk: Any, metadata: ReadOnlyMetadata, at: float | None = None) -> None:
        """Measure one token that arrived ``at`` this time of the meter's clock; None is now."""
        now = self._clock() if at is None else at
        if self._started is None:
            self._started = now
        text = text_of(chunk)
        is_token = bool(text or pieces(chunk))
        key = call_of(chunk, metadata)
        call = self._calls.get(key)
        if call is None:
            if not is_token and not isinstance(chunk, BaseMessageChunk):
                return
            names = metadata.get("tags") or [metadata.get("langgraph_node") or "(no node)"]
            gauges = [self._gauges.setdefault(str(name), _Gauge()) for name in dict.fromkeys(names)]
            call = self._calls[key] = _MeteredCall([self._total, *gauges], metadata)
            call.started = self._start_of(metadata, None if is_token else now)
            for gauge in call.gauges:
                gauge.calls += 1
        for gauge in call.gauges:
            if is_token:
                gauge.token(now, call.last, len(text))
                if call.tokens == 0:
                    gauge.alone += 1  # until a second token comes
                elif call.tokens == 1:
                    gauge.alone -= 1
        if usage := getattr(chunk, "usage_metadata", None):
            counted: list[_MeteredCall | _Gauge] = [call, *call.gauges]
            for used in counted:
                used.input_tokens = (used.input_tokens or 0) + usage["input_tokens"]
                used.output_tokens = (used.output_tokens or 0) + usage["output_tokens"]
        if is_token:
            if call.tokens == 0:
                self._first_token(call, now)
            call.last = now
            call.tokens += 1

    def _start_of(self, metadata: ReadOnlyMetadata, head: float | None) -> float | None:
        """When a call started, by the meter's clock; ``head`` if its metadata does not say."""
        if isinstance(metadata, CallMetadata):
            return self._clock() - (time.perf_counter() - metadata.started)
        return head

    def _first_token(self, call: _MeteredCall, now: float) -> None:
        for gauge in call.gauges:
            since = self._started if gauge is self._total else call.started
            if gauge.first is None and since is not None:
                gauge.first = now - since

    @overload
    def watch(self, stream: AsyncIterator[Token]) -> TokenStream[Token]: ...

    @overload
    def watch(self, stream: Iterator[Token]) -> SyncTokenStream[Token]: ...

    def watch(self, stream: Any) -> Any:
        """Measure a stream while it is read.

        Args:
            stream: A stream of ``(chunk, metadata)``, async or sync.

        Returns:
            The same tokens, as a ``TokenStream`` or a ``SyncTokenStream``, whatever ``stream`` is.
            Closing it closes ``stream``.

        Raises:
            TypeError: If this is not a stream; at the reader, if its parts are not
                ``(chunk, metadata)``.
        """
        return stage("Meter.watch", stream, self._watch)

    async def _watch(self, tokens: AsyncIterator[Token]) -> AsyncGenerator[Token, None]:
        self.start()
        async for token in tokens:
            self.feed(*token)
            yield token

    def report(self) -> MeterReport:
        """The figures so far."""
        return MeterReport(
            self._total.report(),
            {name: gauge.report() for name, gauge in self._gauges.items()},
            self._counts("langgraph_node"),
            self._counts("lc_agent_name"),
            self._counts("ls_model_name"),
        )

    def _counts(self, key: str) -> dict[str, CallCounts]:
        """The counts of all calls by this key of their metadata."""
        calls: dict[str, list[_MeteredCall]] = {}
        for call in self._calls.values():
            if name := call.metadata.get(key):
                calls.setdefault(str(name), []).append(call)
        return {
            name: CallCounts(
                len(of_name),
                sum(call.tokens for call in of_name),
                _sum(call.input_tokens for call in of_name),
                _sum(call.output_tokens for call in of_name),
            )
            for name, of_name in calls.items()
        }


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


@dataclass
class _MeteredCall:
    gauges: list[_Gauge]
    metadata: ReadOnlyMetadata
    started: float | None = None
    last: float | None = None
    tokens: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass
class _Gauge:
    """Sums of one tag, and a histogram of its gaps."""

    calls: int = 0
    tokens: int = 0
    characters: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    alone: int = 0
    first: float | None = None
    gaps: _Histogram = field(default_factory=lambda: _Histogram())

    def token(self, now: float, last: float | None, characters: int) -> None:
        self.tokens += 1
        self.characters += characters
        if last is not None:
            self.gaps.add(now - last)

    def report(self) -> TagReport:
        gaps = self.gaps
        return TagReport(
            calls=self.calls,
            tokens=self.tokens,
            characters=self.characters,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            time_to_first_token=self.first,
            latency_p50=gaps.percentile(50),
            latency_p99=gaps.percentile(99),
            tokens_per_second=gaps.count / gaps.sum if gaps.sum else None,
            not_streamed=self.alone,
        )


class _Histogram:
    """Counts of durations in buckets that grow by 1 %, from a microsecond up to some hours.

    It gives percentiles to 1 % for any number of tokens, in 20 kB.
    """

    _LEAST = 1e-6
    _GROWTH = math.log(1.01)
    _BUCKETS = 2_400

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self.buckets: array[int] | None = None

    def add(self, seconds: float) -> None:
        if self.buckets is None:
            self.buckets = array("Q", bytes(8 * self._BUCKETS))
        self.count += 1
        self.sum += seconds
        if seconds <= self._LEAST:
            bucket = 0
        else:
            bucket = min(int(math.log(seconds / self._LEAST) / self._GROWTH) + 1, self._BUCKETS - 1)
        self.buckets[bucket] += 1

    def percentile(self, percent: float) -> float | None:
        """The percentile of all durations, by nearest rank."""
        if not self.count or self.buckets is None:
            return None
        rank = max(1, math.ceil(self.count * percent / 100))
        for bucket, number in enumerate(self.buckets):
            rank -= number
            if rank <= 0:
                # The middle of the bucket.
                return self._LEAST * math.exp(max(bucket - 0.5, 0) * self._GROWTH)
        return None
