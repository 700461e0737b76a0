"""Which threads and assistants a search finds, among those in memory. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from msgspec.structs import replace

from tokenweir.serving.running.records import Assistant, Thread

__all__ = ["search_assistants", "search_threads"]

T = TypeVar("T", Thread, Assistant)


def search_threads(
    threads: Iterable[Thread],
    *,
    metadata: Mapping[str, Any],
    values: Mapping[str, Any],
    status: str | None,
    sort_by: str,
    descending: bool,
    limit: int,
    offset: int,
) -> tuple[list[Thread], int]:
    """One page of the threads that fit, and how many do."""
    found = [
        each
        for each in threads
        if status in (None, each.status)
        and _has(each.metadata, metadata)
        and _has(each.values or {}, values)
    ]
    found.sort(key=lambda each: str(getattr(each, sort_by)))
    return _page(found, descending=descending, limit=limit, offset=offset)


def search_assistants(
    assistants: Iterable[Assistant],
    *,
    graphs: Collection[str],
    name: str | None,
    metadata: Mapping[str, Any],
    sort_by: str | None,
    descending: bool,
    limit: int,
    offset: int,
) -> tuple[list[Assistant], int]:
    """One page of the assistants that fit, and how many do."""
    found = [
        each
        for each in assistants
        if each.graph in graphs
        and (name is None or name.lower() in each.name.lower())
        and _has(each.metadata, metadata)
    ]
    if sort_by is not None:
        found.sort(key=lambda each: str(getattr(each, sort_by)))
    return _page(found, descending=descending, limit=limit, offset=offset)


def _has(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(there.get(key) == value for key, value in wanted.items())


def _page(found: list[T], *, descending: bool, limit: int, offset: int) -> tuple[list[T], int]:
    if descending:
        found.reverse()
    return [replace(each) for each in found[offset : offset + limit]], len(found)
