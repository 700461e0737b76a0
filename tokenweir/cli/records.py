"""``--json``: the parts of a run as plain data with stable names. No I/O.

The record of a token is made by ``token_record`` in ``streaming/content.py``.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Record", "custom", "end", "failure", "line", "stats"]

Record = dict[str, Any]


def custom(namespace: Sequence[str], data: Any) -> Record:
    """What a node wrote in custom mode that is not a token."""
    return {"type": "custom", "namespace": list(namespace), "data": data}


def stats(report: Any) -> Record:
    """The meter's report."""
    return {"type": "stats", **dataclasses.asdict(report)}


def end(thread: str | None, tokens: int, seconds: float, interrupts: Sequence[Any]) -> Record:
    """The last record of a run that ended or stopped at an interrupt."""
    return {
        "type": "end",
        "thread": thread,
        "tokens": tokens,
        "seconds": round(seconds, 3),
        "interrupts": [
            {"id": getattr(interrupt, "id", None), "value": interrupt.value}
            for interrupt in interrupts
        ],
    }


def failure(error: BaseException) -> Record:
    """The last record of a run that failed or was interrupted."""
    cause = error.__cause__
    return {
        "type": "error",
        "error": type(error).__name__,
        "message": str(error) if isinstance(error, Exception) else "interrupted",
        "cause": type(cause).__name__ if cause is not None else None,
    }


def line(record: Record, encoding: str = "utf-8") -> str:
    """A record as one line of JSON, without its newline; values that JSON lacks become text."""
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, ValueError):  # keys that are not strings; NaN, which jq and others reject
        record = _strict(record)
        text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(record, default=_plain)
    return text


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    return dump() if callable(dump) and not isinstance(value, type) else str(value)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return _strict(_plain(value))
