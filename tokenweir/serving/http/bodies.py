"""Decodes the bodies and parameters of requests into the types that a handler asks for.

An error names the field and what it must be, as its JSON Schema says; the API description is made
from the same schema.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request

from tokenweir.serving.problems import InvalidError

__all__ = ["parse", "read_body", "read_parameters"]

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)
_DEEP = 100
_HALF_PAIR = re.compile(
    rb"\\u[dD][89abAB][\da-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][\da-fA-F]{2})\\u[dD][c-fC-F][\da-fA-F]{2}"
)
_NAMES = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "a number",
    "number": "a number",
    "boolean": "true or false",
}


async def read_body(request: Request, kind: type[T]) -> T:
    """The body as JSON of a type; a missing body counts as an empty object.

    Raises:
        InvalidError: If it is not JSON, is nested too deep, or is not of the type.
        ClientDisconnect: If it is incomplete; the guard answers.
    """
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise InvalidError(f"the body is compressed ({coding}); send it without Content-Encoding")
    data = await request.body()
    body: T = parse(data if data.strip() else b"{}", "the body", kind)
    return body


def parse(data: bytes | str, what: str, kind: Any = Any) -> Any:
    """Decode a client's JSON.

    Args:
        data: The JSON.
        what: The name of the value, for the error.
        kind: The type to decode.

    Raises:
        InvalidError: If it is not JSON, is nested too deep, or is not of the type.
    """
    try:
        data = data.encode() if isinstance(data, str) else data
        value = msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidError(_told(str(error), what, kind)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidError(f"{what} is not JSON: {_reason(data, error)}") from None
    # A body with few opening brackets cannot be deep, so most bodies need no check.
    if data.count(b"[") + data.count(b"{") > _DEEP and _depth(value) > _DEEP:
        raise InvalidError(f"{what} is nested more than {_DEEP} deep")
    return value


def read_parameters(given: QueryParams | Headers, kind: type[S]) -> S:
    """Query parameters or headers as a Struct.

    An empty value counts as missing, unless its field accepts any text. A field that is a dict
    takes all parameters without a field of their own.

    Raises:
        InvalidError: If a value does not fit the type of its field.
    """
    values: dict[str, Any] = {}
    types = _types(kind)
    for name, its_type in types.items():
        origin = get_origin(its_type)
        found = [value for value in given.getlist(name) if value or str in get_args(its_type)]
        if origin is dict:
            values[name] = {key: given[key] for key in given if key not in types}
        elif found:
            values[name] = found if origin is list else found[-1]
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidError(_told(str(error), "the request", kind)) from None


@cache
def _types(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The types of a Struct's fields, without annotations, by the fields' names in requests."""
    return {
        each.encode_name: get_args(each.type)[0]
        if get_origin(each.type) is Annotated
        else each.type
        for each in msgspec.structs.fields(kind)
    }


def _depth(body: Any) -> int:
    """The depth of a nested value, found level by level: recursion would hit Python's limit."""
    depth, level = 0, [body]
    while level and depth <= _DEEP:
        depth += 1
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, msgspec.Struct):
                below.extend(msgspec.structs.astuple(value))
        level = [value for value in below if isinstance(value, (dict, list, msgspec.Struct))]
    return depth


# Error texts


def _reason(data: bytes | str, error: Exception) -> str:
    """Why data are not JSON, where the decoder does not say it."""
    data = data.encode(errors="replace") if isinstance(data, str) else data
    if data.startswith(BOM_UTF8):
        return "it begins with a byte order mark"
    if half := _HALF_PAIR.search(data):
        return f"it has half of a surrogate pair: {half[0].decode()}"
    return str(error)


def _told(error: str, what: str, kind: Any) -> str:
    """An error of msgspec for clients: the field, and what it must be."""
    said, _, place = error.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    missing = re.fullmatch("Object missing required field `(.+)`", said)
    unknown = re.fullmatch("Object contains unknown field `(.+)`", said)
    if missing:
        place = f"{place}.{missing[1]}".lstrip(".")
    # For a wrong element of a list, name the list, and what it must hold.
    *above, last = re.findall(r"[^.\[\]]+|\[[^\]]*\]", place) or [""]
    field = place if not last.startswith("[") else place[: -len(last)]
    [schema], shared = msgspec.json.schema_components([kind], ref_template="{name}")
    schema = _at(schema, shared, [*above, last] if field == place else above)
    if schema is None:
        return f"{place or what}: {said}"
    about = schema.get("description", "")
    if missing:
        return f"{field} is missing{': ' + about if about else ''}"
    if unknown:
        names = ", ".join(schema.get("properties", ()))
        return f"{place or what} has {names}; not {unknown[1]}. {about}"
    words = _words(schema, shared)
    if not words:
        return f"{field}: {about}"
    return f"{field or what} {'is' if words.startswith('one of') else 'must be'} {words}"


def _at(schema: Any, shared: dict[str, Any], path: list[str]) -> Any:
    """The schema at a path in a value; None if it is ambiguous."""
    for step in filter(None, path):
        options = [_resolved(each, shared) for each in schema.get("anyOf", [schema])]
        below = [
            each["items"] if step.startswith("[") else each["properties"][step]
            for each in options
            if ("items" in each if step.startswith("[") else step in each.get("properties", ()))
        ]
        if len(below) != 1:
            return None
        [schema] = below
    return {**_resolved(schema, shared), **schema}


def _resolved(schema: Any, shared: dict[str, Any]) -> Any:
    return shared[schema["$ref"]] if "$ref" in schema else schema


def _words(schema: Any, shared: dict[str, Any]) -> str:
    """What a schema allows, besides null; "" if only its description can say it."""
    schema = _resolved(schema, shared)
    if "pattern" in schema or "maxItems" in schema:
        return ""
    if "enum" in schema:
        allowed = ", ".join(map(str, schema["enum"]))
        return allowed if len(schema["enum"]) == 1 else f"one of {allowed}"
    if "anyOf" in schema:
        return " or ".join(filter(None, (_words(each, shared) for each in schema["anyOf"])))
    name = _NAMES.get(schema.get("type"), "")
    if "minimum" in schema:
        name += f" from {schema['minimum']:g}"
    if "maximum" in schema:
        name += f" to {schema['maximum']:g}"
    element = _resolved(schema.get("items") or {}, shared).get("type")
    if element:
        name += f" of {element}s"
    return f"{name}, not empty" if "minItems" in schema else name
