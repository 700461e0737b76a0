"""The keys of a graph's input, for clients that send text.

They are derived from the types of the graph's input schema, by JSON Schema. No I/O.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from typing import Any, TypedDict

from pydantic import TypeAdapter

from tokenweir.serving.http.bodies import parse
from tokenweir.serving.problems import InvalidError

__all__ = ["MESSAGES", "Key", "empty_input", "from_text", "keys_of"]

MESSAGES = "messages"
"""The key of a conversation; LangGraph also accepts a single string for it."""


class _Key(TypedDict):
    name: str
    type: str
    required: bool


class Key(_Key, total=False):
    """One key of a graph's input. `type` is a JSON Schema type, `messages`, or `any`."""

    title: str
    description: str
    default: Any
    enum: list[Any]


def keys_of(graph: Any) -> list[Key] | None:
    """The keys of a graph's input in order; None if they are not known."""
    schema = getattr(getattr(graph, "builder", None), "input_schema", None)
    if not isinstance(schema, type):
        return None
    try:
        hints = typing.get_type_hints(schema)
    except (NameError, TypeError):  # a type that is imported only for type checkers
        hints = dict(getattr(schema, "__annotations__", {}))
    fields = getattr(schema, "model_fields", None)
    if isinstance(fields, Mapping):
        required = {name for name, field in fields.items() if field.is_required()}
        hints = {name: hints.get(name, Any) for name in fields}
    else:
        required = set(getattr(schema, "__required_keys__", ()))
    if not hints:
        return None
    return [_key(name, _schema(hint), name in required) for name, hint in hints.items()]


def from_text(graph: str, keys: list[Key] | None, texts: Mapping[str, str]) -> dict[str, Any]:
    """An input from texts by key, as in a URL or a form.

    Raises:
        InvalidError: For an unknown key, or a text that is no valid value of its key.
    """
    if keys is None:
        return dict(texts)
    known = {key["name"]: key for key in keys}
    found = {}
    for name, text in texts.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            there = ", ".join(known) or "none"
            raise InvalidError(f"{graph} has no input {name!r}{meant}. Its keys: {there}")
        found[name] = _value(known[name], text)
    return found


def empty_input(graph: str, keys: list[Key]) -> dict[str, Any]:
    """The input of a graph if a request has none: ``{}``, if no key is required.

    Raises:
        InvalidError: If a key is required.
    """
    needed = [key["name"] for key in keys if key["required"]]
    if not needed:
        return {}
    optional = ", ".join(key["name"] for key in keys if not key["required"])
    there = ", ".join(needed) + (f" (optional: {optional})" if optional else "")
    raise InvalidError(
        f"{graph} needs an input. Its keys: {there}. Give them in the URL, ?{needed[0]}=..., "
        f'or in the body, {{"input": {{"{needed[0]}": ...}}}}'
    )


def _value(key: Key, text: str) -> Any:
    if key["type"] in ("string", "any", MESSAGES):
        return text
    try:
        return parse(text, key["name"])
    except InvalidError:
        raise InvalidError(f"{key['name']} takes {key['type']} as JSON, not {text!r}") from None


def _key(name: str, schema: Mapping[str, Any], required: bool) -> Key:
    kind = schema.get("type")
    if name == MESSAGES and kind in ("array", None):
        kind = MESSAGES
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), None)
    key: Any = {"name": name, "type": kind or "any", "required": required}
    kept = ("title", "description", "default", "enum")
    made: Key = key | {name: schema[name] for name in kept if name in schema}
    return made


def _schema(hint: Any) -> dict[str, Any]:
    """The JSON Schema of one type; {} if it has none.

    pydantic cannot make one of a whole ``typing.TypedDict`` before Python 3.12.
    """
    try:
        schema = TypeAdapter(hint).json_schema()
    except Exception:  # noqa: BLE001 - users' types raise errors of any kind
        return {}
    return _resolved(schema, schema)


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """A schema with references resolved, and without null as an alternative."""
    for _ in range(8):  # references may be cyclic
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/$defs/"):
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**root.get("$defs", {}).get(reference[8:], {}), **rest}
            continue
        options = [each for each in schema.get("anyOf") or () if each.get("type") != "null"]
        if len(options) != 1:
            return schema
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        schema = {**options[0], **rest}
    return schema
