"""Matchers compare the streams of two runs value by value, although their ids differ.

``without_run_ids`` makes two runs comparable: ids of runs, tasks, messages and checkpoints become
``#0``, ``#1`` ... in order of first appearance, and everything else stays literal.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

__all__ = ["by_call", "without_run_ids"]

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")


def without_run_ids(value: Any, names: dict[str, str] | None = None) -> Any:
    """A copy of ``value`` as plain data, with UUIDs and hashes named by first appearance.

    Messages and other models become ``(class name, set fields, all fields)``. So two that compare
    equal have the same type, the same fields set, and the same values.

    Args:
        value: Whatever a graph streams or keeps: chunks, metadata, states.
        names: The names given so far, to be shared by several values of one run.
    """
    if names is None:
        names = {}
    if isinstance(value, str):
        return _ID.sub(lambda match: names.setdefault(match.group(), f"#{len(names)}"), value)
    if isinstance(value, UUID):
        return without_run_ids(str(value), names)
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        return (
            type(value).__name__,
            sorted(value.model_fields_set),
            without_run_ids(fields, names),
        )
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return (type(value).__name__, without_run_ids(fields, names))
    if isinstance(value, Mapping):
        return {
            without_run_ids(key, names): without_run_ids(item, names) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        items = [without_run_ids(item, names) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def by_call(tokens: Iterable[tuple[BaseMessage, dict[str, Any]]]) -> list[Any]:
    """The tokens of a stream, call by call, in an order that does not depend on timing.

    Use it if nodes run in threads, where only the order within a call is fixed.
    """
    calls: dict[Any, list[Any]] = {}
    for chunk, metadata in tokens:
        calls.setdefault(chunk.id, []).append((chunk, metadata))
    return sorted((without_run_ids(call) for call in calls.values()), key=repr)
