"""Converts runs, threads and assistants from and to rows. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from tokenweir.serving.running.records import Assistant, Run, Thread

__all__ = ["assistant_of", "encode", "run_of", "searchable", "thread_of"]

encode = msgspec.json.Encoder().encode
_run = msgspec.json.Decoder(Run).decode
_thread = msgspec.json.Decoder(Thread).decode
_assistant = msgspec.json.Decoder(Assistant).decode
_json = msgspec.json.Decoder().decode

_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def run_of(row: tuple[Any, ...]) -> Run:
    """A run from the columns ``claims.RUN``: its record as created, and its current state."""
    record, status, epoch, server, stopping, undone, error, updated_at, turn, lost = row
    run = _run(record)
    run.status, run.attempt, run.server = status, epoch, server or ""
    run.stopping, run.undone, run.updated_at = stopping, undone, updated_at
    run.error = None if error is None else _json(error)
    run.turn, run.lost = turn, lost
    return run


def thread_of(row: tuple[Any, ...]) -> Thread:
    """A thread from the columns ``record``, ``status`` and ``updated_at``."""
    record, status, updated_at = row
    thread = _thread(record)
    thread.status, thread.updated_at = status, updated_at
    return thread


def assistant_of(record: bytes) -> Assistant:
    """An assistant from its record."""
    return _assistant(record)


def searchable(metadata: Mapping[str, Any]) -> Jsonb:
    """Metadata in the form that Postgres searches; U+FFFD replaces NUL, which it refuses."""
    return Jsonb(_NUL.sub(rb"\1\\ufffd", encode(metadata)), dumps=lambda value: value)
