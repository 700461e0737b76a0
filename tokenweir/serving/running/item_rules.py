"""What items may hold and what a search may ask, the same in every home. No I/O.

LangGraph's stores differ: what one keeps, another refuses, each with an error of its own.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from langgraph.store.base import GetOp, Op, PutOp, SearchOp

from tokenweir.serving.problems import InvalidError

__all__ = ["check", "check_conditions", "fits"]

_MOST_BYTES = 2000
"""The most bytes of a namespace and a key: Postgres keeps both in one entry of an index."""

_MOST_CONDITIONS = 100
_FILTER_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def check(op: Op) -> None:
    """Refuse what not every home can keep or answer.

    Raises:
        InvalidError: For a namespace and key of more than 2000 bytes, a filter that is none, a NUL
            character, or an integer beyond 64 bits.
    """
    if isinstance(op, (GetOp, PutOp)):
        names: tuple[str, ...] = (*op.namespace, op.key)
    elif isinstance(op, SearchOp):
        names = op.namespace_prefix
        _check_filter(op.filter or {})
    else:
        names = tuple(label for each in op.match_conditions or () for label in each.path)
    _check_value(names, "a namespace or key")
    if sum(len(name.encode(errors="replace")) + 1 for name in names) > _MOST_BYTES:
        raise InvalidError(f"a namespace and key may have {_MOST_BYTES} bytes together")
    if isinstance(op, PutOp):
        _check_value(op.value, "the value")


def check_conditions(conditions: Mapping[str, Any], what: str) -> None:
    """Raise InvalidError for keys or values that not every home can search for.

    Args:
        conditions: Keys, and the values that must be there.
        what: What it is, for the error's message.
    """
    if len(conditions) > _MOST_CONDITIONS:
        raise InvalidError(f"{what}: {_MOST_CONDITIONS} keys are the most")
    for key in conditions:
        if not _FILTER_KEY.fullmatch(key):
            raise InvalidError(
                f"{what}: {key!r} is no key to search by: letters from a to z, digits, _ and - are"
            )
    _check_value(conditions, what)


def _check_filter(filter: Mapping[str, Any]) -> None:
    check_conditions(filter, "filter")
    for key, wanted in filter.items():
        if not isinstance(wanted, dict):
            continue
        if not wanted or wanted.keys() - _OPERATORS.keys():
            raise InvalidError(
                f"filter: {key}: an object must hold operators: {', '.join(_OPERATORS)}; "
                'for one that is equal ask {"$eq": {...}}'
            )
        for name, limit in wanted.items():
            if name not in ("$eq", "$ne") and _kind(limit) is None:
                raise InvalidError(f"filter: {key}: {name} takes a number or a text")


def _check_value(value: Any, what: str) -> None:
    if isinstance(value, Mapping):
        for key, each in value.items():
            _check_value(key, what)
            _check_value(each, what)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _check_value(each, what)
    elif isinstance(value, str) and "\0" in value:
        raise InvalidError(f"{what} has a NUL character, which Postgres cannot keep: take it out")
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise InvalidError(f"{what} has an integer beyond 64 bits: give it as a text")


def fits(value: Mapping[str, Any], filter: Mapping[str, Any]) -> bool:
    """Whether an item's value has what a filter wants; one without the key does not.

    Numbers are compared with numbers, and texts with texts.
    """
    for key, wanted in filter.items():
        there = value.get(key)
        for name, limit in (wanted if isinstance(wanted, dict) else {"$eq": wanted}).items():
            if not _OPERATORS[name](there, limit):
                return False
    return True


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda there, limit: _kind(there) is _kind(limit) and compare(there, limit)


def _kind(value: Any) -> type | None:
    """What a value is compared with; None if it has no order."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float
    return str if isinstance(value, str) else None


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": operator.eq,
    "$ne": lambda there, limit: there is not None and bool(there != limit),
    "$gt": _ordered(operator.gt),
    "$gte": _ordered(operator.ge),
    "$lt": _ordered(operator.lt),
    "$lte": _ordered(operator.le),
}
