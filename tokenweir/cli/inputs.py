"""Turn the arguments of a command line into a graph's input. No I/O.

``key=value`` is a string, ``key:=json`` is JSON, and a word without ``=`` is a message of the user.
"""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenweir.errors import TokenweirError

__all__ = ["InputError", "Keys", "Words", "inputs_for", "keys_of", "read_words"]

_PAIR = re.compile(r"([A-Za-z_][\w.-]*)(:?=)(.*)", re.DOTALL)


class InputError(TokenweirError, ValueError):
    """Raised when the arguments are no input for the graph; the message says what would be."""


@dataclass(frozen=True)
class Words:
    """The parsed arguments: values by key, and messages in order."""

    values: Mapping[str, Any]
    messages: Sequence[str]


def read_words(words: Sequence[str]) -> Words:
    """Read ``key=value``, ``key:=json`` and plain messages. Raises InputError for broken JSON."""
    values: dict[str, Any] = {}
    messages: list[str] = []
    for word in words:
        match = _PAIR.fullmatch(word)
        if match is None:
            messages.append(word)
            continue
        key, sign, value = match.groups()
        if sign == "=":
            values[key] = value
            continue
        try:
            values[key] = json.loads(value)
        except ValueError as error:
            raise InputError(
                f"{key}:= takes JSON, and {value!r} is not ({error}); for text write {key}={value}"
            ) from None
    return Words(values, messages)


@dataclass(frozen=True)
class Keys:
    """The keys of a graph's input, with their types where the graph says them.

    ``open`` is True if the graph does not declare its input, so that any key has to be accepted.
    """

    types: Mapping[str, Any]
    required: frozenset[str] = frozenset()
    open: bool = False

    @property
    def takes_messages(self) -> bool:
        return self.open or "messages" in self.types

    def __str__(self) -> str:
        return ", ".join(f"{key} ({_named(hint)})" for key, hint in self.types.items()) or "none"


def keys_of(graph: Any) -> Keys:
    """The input keys of a compiled graph."""
    schema = getattr(getattr(graph, "builder", None), "input_schema", None)
    if not isinstance(schema, type):
        return Keys({}, open=True)
    try:
        hints = typing.get_type_hints(schema)
    except (NameError, TypeError):  # a type that is only imported for type checkers
        hints = dict(getattr(schema, "__annotations__", {}))
    fields = getattr(schema, "model_fields", None)
    if isinstance(fields, Mapping):
        required = frozenset(name for name, field in fields.items() if field.is_required())
        return Keys({name: hints.get(name, Any) for name in fields}, required)
    return Keys(hints, open=not hints)


def inputs_for(name: str, keys: Keys, words: Words, whole: Any = None) -> list[Any]:
    """The inputs of a run, one per turn.

    Args:
        name: The graph's name, for messages.
        keys: The graph's input keys.
        words: The parsed arguments; they override the keys of ``whole``.
        whole: An input given as JSON, or None.

    Returns:
        One input; with several messages one for each, as turns of a conversation.

    Raises:
        InputError: For keys that the graph does not have, values of the wrong type, and missing
            input.
    """
    if whole is not None and not isinstance(whole, Mapping):
        if words.values or words.messages:
            raise InputError("--input must be a JSON object if key=value or messages are given too")
        return [whole]
    values = {**(whole or {}), **words.values}
    for key, value in values.items():
        _check(name, keys, key, value)
    if words.messages:
        return _turns(name, keys, values, words.messages)
    missing = [key for key in keys.types if key in keys.required and key not in values]
    if whole is None and not values and not keys.open and keys.types:
        missing = list(keys.types)
    if missing == ["messages"]:
        raise InputError(f'{name} takes a message: tokenweir run {name} "hello"')
    if missing:
        raise InputError(f"{name} needs input, as key=value. Its keys: {keys}")
    return [values]


def _check(name: str, keys: Keys, key: str, value: Any) -> None:
    if keys.open:
        return
    if key not in keys.types:
        near = difflib.get_close_matches(key, keys.types, 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(f"{name} has no input {key!r}{meant}. Its keys: {keys}")
    # LangGraph takes one string for a list of messages.
    if isinstance(value, str) and key != "messages" and not _takes_text(keys.types[key]):
        example = f"{key}:={_example(keys.types[key])}"
        raise InputError(f"{key} takes {_named(keys.types[key])}, not text: write JSON, {example}")


def _turns(name: str, keys: Keys, values: Mapping[str, Any], messages: Sequence[str]) -> list[Any]:
    if not keys.takes_messages:
        raise InputError(f"{name} takes key=value, not {messages[0]!r}. Its keys: {keys}")
    earlier = values.get("messages", [])
    if not isinstance(earlier, list):
        earlier = [earlier]
    turns: list[Any] = []
    for message in messages:
        said = [{"role": "user", "content": message}]
        turns.append({**values, "messages": [*earlier, *said]} if not turns else {"messages": said})
    return turns


def _parts(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union; anything else alone."""
    origin = typing.get_origin(hint)
    return typing.get_args(hint) if origin in (typing.Union, types.UnionType) else (hint,)


_NOT_TEXT = (bool, int, float, list, dict, tuple, set, frozenset)


def _takes_text(hint: Any) -> bool:
    """Whether a type may accept a string; if in doubt, True."""
    parts = [typing.get_origin(part) or part for part in _parts(hint)]
    return not all(part in _NOT_TEXT or part is type(None) for part in parts)


def _example(hint: Any) -> str:
    first = typing.get_origin(_parts(hint)[0]) or _parts(hint)[0]
    examples = {bool: "true", int: "3", float: "0.5", dict: "'{\"a\": 1}'"}
    return examples.get(first, "'[1, 2]'")


def _named(hint: Any) -> str:
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", str(hint))
