"""Requests' bodies and parameters, read and checked. Shared by the protocols that take JSON."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from tokenweir.serving.problems import InvalidError

__all__ = ["choice", "field", "flag", "number", "parse", "read_bodies", "read_body"]

T = TypeVar("T")
_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a number",
    bool: "true or false",
}
_DEEP = 100


async def read_body(request: Request) -> dict[str, Any]:
    """The body, a JSON object; an empty one if there is none. Raises InvalidError."""
    body = await _decoded(request)
    if not isinstance(body, dict):
        raise InvalidError("the body must be a JSON object")
    return body


async def read_bodies(request: Request) -> list[dict[str, Any]]:
    """The body, a JSON list of objects. Raises InvalidError."""
    bodies = await _decoded(request)
    if not isinstance(bodies, list) or not all(isinstance(each, dict) for each in bodies):
        raise InvalidError("the body must be a JSON list of objects")
    return bodies


async def _decoded(request: Request) -> Any:
    try:
        data = await request.body()
    except ClientDisconnect:
        raise InvalidError("the body did not come to its end") from None
    if not data.strip():
        return {}
    return parse(data, "the body")


def parse(data: bytes | str, what: str) -> Any:
    """A client's JSON, which is neither endless nor bottomless when it is written again.

    Args:
        data: The JSON.
        what: What it is, for the error's message.

    Raises:
        InvalidError: If it is not JSON, or nested too deep.
    """
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidError(f"{what} is not JSON: {error}") from None
    if _depth(value) > _DEEP:
        raise InvalidError(f"{what} is nested more than {_DEEP} deep")
    return value


def field(body: dict[str, Any], name: str, kind: type[T], default: T | None = None) -> T | None:
    """A field of a body if it is there and not null. Raises InvalidError for another type."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidError(f"{name} must be {_NAMES.get(kind, kind.__name__)}")
    return value


def choice(body: dict[str, Any], name: str, default: str, *others: str) -> str:
    """A field that is one of a few words; the first if it is missing or null.

    Raises InvalidError, which names them, for anything else.
    """
    value = body.get(name)
    if value is None:
        return default
    if value not in (default, *others):
        raise InvalidError(f"{name} is one of {', '.join((default, *others))}")
    return str(value)


def number(body: Any, name: str, default: int, most: int = 1000) -> int:
    """A number from 0 of a body or of query parameters. Raises InvalidError."""
    value = body.get(name)
    if value is None or value == "":
        return default
    if isinstance(value, bool) or not str(value).isascii() or not str(value).isdigit():
        raise InvalidError(f"{name} must be a number from 0")
    return min(int(str(value)[:18]), most)


def flag(request: Request, name: str) -> bool:
    """A query parameter that is true or false; false if it is missing. Raises InvalidError."""
    value = request.query_params.get(name, "").lower()
    if value in ("1", "true"):
        return True
    if value in ("", "0", "false"):
        return False
    raise InvalidError(f"{name} must be true or false")


def _depth(body: Any) -> int:
    """How deep a value is nested, counted level by level: recursion is what it guards against."""
    depth, level = 0, [body]
    while level and depth <= _DEEP:
        depth += 1
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        level = [value for value in below if isinstance(value, (dict, list))]
    return depth
