"""The rules for items and their searches, the same in every home. No I/O.

LangGraph's stores differ in what they accept, and in the errors they raise.
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
"""The most bytes of a namespace and key together: Postgres keeps both in one index entry."""

_MOST_CONDITIONS = 100
_FILTER_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def check(op: Op) -> None:
    """Refuse an operation that some home could not carry out.

    Raises:
        InvalidError: For a namespace and key of more than 2000 bytes, an invalid filter, a NUL
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
        raise InvalidError(f"a namespace and key may have at most {_MOST_BYTES} bytes together")
    if isinstance(op, PutOp):
        _check_value(op.value, "the value")


def check_conditions(conditions: Mapping[str, Any], what: str) -> None:
    """Raise InvalidError for keys or values that some home could not search for.

    Args:
        conditions: The values to find, by key.
        what: The name of the conditions, for the error.
    """
    if len(conditions) > _MOST_CONDITIONS:
        raise InvalidError(f"{what} may have at most {_MOST_CONDITIONS} keys")
    for key in conditions:
        if not _FILTER_KEY.fullmatch(key):
            raise InvalidError(
                f"{what}: invalid key {key!r}; keys consist of letters from a to z, digits, _ and -"
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
                'to find an equal object, use {"$eq": {...}}'
            )
        for name, limit in wanted.items():
            if name not in ("$eq", "$ne") and _kind(limit) is None:
                raise InvalidError(f"filter: {key}: {name} takes a number or a string")


def _check_value(value: Any, what: str) -> None:
    if isinstance(value, Mapping):
        for key, each in value.items():
            _check_value(key, what)
            _check_value(each, what)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _check_value(each, what)
    elif isinstance(value, str) and "\0" in value:
        raise InvalidError(f"{what} has a NUL character, which Postgres cannot store; remove it")
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise InvalidError(f"{what} has an integer beyond 64 bits; send it as a string")


def fits(value: Mapping[str, Any], filter: Mapping[str, Any]) -> bool:
    """Whether an item's value matches a filter; a missing key does not match.

    Numbers are compared with numbers only, and strings with strings.
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
    """The type that a value can be compared with; None if it has no order."""
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
