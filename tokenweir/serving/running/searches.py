"""Searches for threads and assistants, and their evaluation on records in memory. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from msgspec.structs import replace

from tokenweir.serving.running.records import Assistant, Thread

__all__ = ["AssistantSearch", "ThreadOrder", "ThreadSearch", "find_assistants", "find_threads"]

ThreadOrder: TypeAlias = Literal["id", "status", "created_at", "updated_at", "state_updated_at"]
T = TypeVar("T", Thread, Assistant)


@dataclass(frozen=True, kw_only=True)
class _Page:
    """Which page of the results is wanted."""

    limit: int
    offset: int = 0


@dataclass(frozen=True, kw_only=True)
class ThreadSearch(_Page):
    """Threads by id, by status, and by values of keys in their metadata and state."""

    ids: Collection[str] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    status: str | None = None
    sort_by: ThreadOrder = "created_at"
    descending: bool = True


@dataclass(frozen=True, kw_only=True)
class AssistantSearch(_Page):
    """Assistants of these graphs, by part of the name, ignoring case, and by metadata.

    Without ``sort_by``, they are in the order of creation.
    """

    graphs: Collection[str]
    name: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sort_by: str | None = None
    descending: bool = False


def find_threads(threads: Iterable[Thread], search: ThreadSearch) -> tuple[list[Thread], int]:
    """One page of the threads that match, and the number of all; ``search.ids`` is ignored."""
    found = [
        each
        for each in threads
        if search.status in (None, each.status)
        and _has(each.metadata, search.metadata)
        and _has(each.values or {}, search.values)
    ]
    found.sort(key=lambda each: str(getattr(each, search.sort_by)))
    return _page(found, search, descending=search.descending)


def find_assistants(
    assistants: Iterable[Assistant], search: AssistantSearch
) -> tuple[list[Assistant], int]:
    """One page of the assistants that match, and the number of all."""
    found = [
        each
        for each in assistants
        if each.graph in search.graphs
        and (search.name is None or search.name.lower() in each.name.lower())
        and _has(each.metadata, search.metadata)
    ]
    if (name := search.sort_by) is not None:
        found.sort(key=lambda each: str(getattr(each, name)))
    return _page(found, search, descending=search.descending)


def _has(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(there.get(key) == value for key, value in wanted.items())


def _page(found: list[T], page: _Page, *, descending: bool) -> tuple[list[T], int]:
    if descending:
        found.reverse()
    return [replace(each) for each in found[page.offset : page.offset + page.limit]], len(found)
