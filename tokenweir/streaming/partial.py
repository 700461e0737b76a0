"""Reads JSON that is still being written into a type: pydantic's, a dataclass's, or msgspec's.

pydantic-core parses and validates the whole text each time, in Rust: its parser, jiter, accepts
JSON that ends anywhere. The core schema is relaxed, not the type: a partial object is an instance
of the same class, its fields are validated as they will be at the end, and a required field that is
missing or not valid yet is None. pydantic does not know msgspec's Structs, so these are built field
by field from the same parser's output.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec
from pydantic import PydanticUserError, TypeAdapter
from pydantic_core import SchemaValidator, from_json

__all__ = ["JSONReader", "StructReader", "json_reader", "members"]

T = TypeVar("T")


class JSONReader(Generic[T]):
    """Reads JSON into a type that pydantic knows.

    Attributes:
        names: The names of tools whose arguments are of this type.
    """

    def __init__(self, kind: Any) -> None:
        adapter: TypeAdapter[T] = TypeAdapter(kind)
        self._whole: Callable[[str], T] = adapter.validate_json
        self._part = _validator(_loosened(adapter.core_schema))
        self.names = {getattr(kind, "__name__", "")}
        if title := getattr(kind, "model_config", {}).get("title"):
            self.names.add(title)

    def whole(self, text: str) -> T:
        """The object in a complete text. Raises ValueError if there is none."""
        return self._whole(text)

    def part(self, text: str) -> T | None:
        """The partial object in the beginning of a text; None if there is none yet."""
        try:
            return self._read(_without_open_number(text))
        # Validators that users wrote for whole values may raise anything on a partial one.
        except Exception:  # noqa: BLE001
            return None

    def _read(self, text: str) -> T | None:
        part: T = self._part.validate_json(text, allow_partial="trailing-strings")
        return part


class StructReader(JSONReader[T]):
    """Reads JSON into a ``msgspec.Struct``, or into a list of them."""

    def __init__(self, kind: Any) -> None:
        self._whole = msgspec.json.Decoder(kind).decode
        self._kind = kind
        self.names = {getattr(kind, "__name__", "")}

    def _read(self, text: str) -> T | None:
        made = _made(self._kind, from_json(text, allow_partial="trailing-strings"))
        return None if made is msgspec.UNSET else made


def json_reader(kind: Any) -> JSONReader[Any]:
    """The reader for a type.

    Raises:
        TypeError: If neither pydantic nor msgspec knows how to read the type.
    """
    if any(_is_struct(each) for each in (kind, *get_args(kind))):
        return StructReader(kind)
    try:
        return JSONReader(kind)
    except PydanticUserError as error:
        reason = str(error).partition("\n")[0]
        raise TypeError(f"objects cannot read {kind!r} from JSON: {reason}") from error


def members(kind: Any) -> tuple[Any, ...]:
    """The types of a union, without None; of another type the type itself."""
    if get_origin(kind) not in (Union, UnionType):
        return (kind,)
    return tuple(each for each in get_args(kind) if each is not type(None))


_OF_NUMBERS = "0123456789+-.eE"


def _without_open_number(text: str) -> str:
    """The text without a number at its end, which may continue: 1 may become 12."""
    head = text.rstrip(_OF_NUMBERS)
    return head if head[-1:] in (":", "[", ",", " ", "\n", "\t", "\r") else text


_OBJECTS = ("model", "dataclass")
_FUNCTIONS = ("function-after", "function-before", "function-wrap")
_ITEMS = ("items_schema", "values_schema")
_OPAQUE = ("cls", "config", "default", "expected", "function", "metadata")


def _loosened(schema: Any) -> Any:
    """A core schema for partial objects: no field is required, and invalid values are left out.

    Validators of whole models do not run, because the models are not complete.
    """
    if isinstance(schema, (list, tuple)):
        return type(schema)(map(_loosened, schema))
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind in _FUNCTIONS:
        within = schema["schema"]
        while within["type"] in _FUNCTIONS:
            within = within["schema"]
        if within["type"] in _OBJECTS:
            ref = {"ref": schema["ref"]} if "ref" in schema else {}
            return _loosened(within) | ref
    loosened = {
        key: value if key in _OPAQUE and kind is not None else _loosened(value)
        for key, value in schema.items()
    }
    if kind == "model":
        loosened["custom_init"] = False  # an __init__ of the user's validates again
    elif kind in ("model-field", "dataclass-field"):
        loosened["schema"] = _optional(loosened["schema"])
    elif kind == "typed-dict-field":
        loosened |= {"required": False, "schema": _omittable(loosened["schema"])}
    elif kind in ("list", "set", "frozenset", "dict"):
        loosened |= {key: _omittable(loosened[key]) for key in _ITEMS if key in loosened}
    return loosened


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    default = schema if schema["type"] == "default" else {"schema": schema, "default": None}
    return {"type": "default", **default, "validate_default": False, "on_error": "default"}


def _omittable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "default", "schema": schema, "on_error": "omit"}


def _validator(schema: Any) -> SchemaValidator:
    try:
        # Otherwise a class's own validator would be used instead of the relaxed schema.
        return SchemaValidator(schema, _use_prebuilt=False)
    except TypeError:  # another pydantic-core: nested models appear when they are complete
        return SchemaValidator(schema)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _made(kind: Any, value: Any) -> Any:
    """The value converted to this type; UNSET if it is not valid yet."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:  # most values are complete, but not the last of each list
        return _made_in_part(kind, value)


def _made_in_part(kind: Any, value: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _made_in_part(arguments[0], value) if _is_struct(arguments[0]) else msgspec.UNSET
    if origin in (Union, UnionType) and value is not None:
        others = members(kind)
        return _made_in_part(others[0], value) if len(others) == 1 else msgspec.UNSET
    if origin is list and isinstance(value, list):
        items = [_made(arguments[0], item) for item in value]
        return [item for item in items if item is not msgspec.UNSET]
    if _is_struct(kind) and isinstance(value, dict):
        return kind(**{field.name: _field(field, value) for field in _fields(kind)})
    return msgspec.UNSET


_fields = lru_cache(maxsize=256)(msgspec.structs.fields)


def _field(field: Any, value: dict[str, Any]) -> Any:
    made: Any = msgspec.UNSET
    if field.encode_name in value:
        made = _made(field.type, value[field.encode_name])
    if made is not msgspec.UNSET:
        return made
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None if field.default is msgspec.NODEFAULT else field.default
