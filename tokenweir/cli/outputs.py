"""Outputs of a run: a display for people, or lines of JSON for programs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import click

from tokenweir.cli import records
from tokenweir.display.show import display_for
from tokenweir.display.visible import visible
from tokenweir.streaming.content import token_record
from tokenweir.streaming.meter import MeterReport

__all__ = ["JsonOutput", "Output", "ScreenOutput"]


class Output(Protocol):
    """Takes the parts of a run as they come."""

    def open(self) -> contextlib.AbstractContextManager[Any]:
        """Entered around the run."""

    def token(self, namespace: Sequence[str], chunk: Any, metadata: Any) -> None:
        """A token, or a whole message."""

    def custom(self, namespace: Sequence[str], data: Any) -> None:
        """What a node wrote in custom mode that is not a token."""

    def end(
        self, thread: str | None, interrupts: Sequence[Any], report: MeterReport | None
    ) -> None:
        """The run has ended or waits at interrupts; ``report`` is None without ``--stats``."""


class ScreenOutput:
    """Tokens on standard output, drawn if it is a terminal; everything else on stderr."""

    def __init__(self) -> None:
        self._display = display_for()

    def open(self) -> contextlib.AbstractContextManager[Any]:
        return self._display

    def token(self, namespace: Sequence[str], chunk: Any, metadata: Any) -> None:
        self._display.feed(chunk, metadata)

    def custom(self, namespace: Sequence[str], data: Any) -> None:
        _note(data if isinstance(data, str) else records.line(data))

    def end(
        self, thread: str | None, interrupts: Sequence[Any], report: MeterReport | None
    ) -> None:
        if report is not None:
            _note(str(report))
        for interrupt in interrupts:
            _note(f"tokenweir: the graph waits for an answer to: {interrupt.value}")
        if interrupts:
            _note("tokenweir: answer it from code: graph.invoke(Command(resume=...), config)")


class JsonOutput:
    """One JSON object a line on standard output; what nodes print goes to stderr."""

    def __init__(self) -> None:
        self._file = sys.stdout
        self._began = time.monotonic()
        self._tokens = 0

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        with contextlib.redirect_stdout(sys.stderr):
            try:
                yield
            except BrokenPipeError:
                raise
            except BaseException as error:
                self._write(records.failure(error))
                raise

    def token(self, namespace: Sequence[str], chunk: Any, metadata: Any) -> None:
        record = token_record(chunk, metadata, namespace)
        if record is not None:
            # Like the meter, this does not count chunks that only say how a call ended.
            self._tokens += any(map(record.get, ("text", "reasoning", "tool_calls")))
            self._write(record)

    def custom(self, namespace: Sequence[str], data: Any) -> None:
        self._write(records.custom(namespace, data))

    def end(
        self, thread: str | None, interrupts: Sequence[Any], report: MeterReport | None
    ) -> None:
        if report is not None:
            self._write(records.stats(report))
        seconds = time.monotonic() - self._began
        self._write(records.end(thread, self._tokens, seconds, interrupts))

    def _write(self, record: records.Record) -> None:
        self._file.write(records.line(record, self._file.encoding or "utf-8") + "\n")
        self._file.flush()


def _note(text: str) -> None:
    click.echo(visible(text), file=sys.stderr)
