"""Keeps keys out of errors, logs, reprs and traces. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import SecretStr

__all__ = ["hidden_headers", "scrub", "scrub_text", "secrets_of"]

E = TypeVar("E", bound=BaseException)

HIDDEN = "**********"
"""As pydantic shows a SecretStr."""


def secrets_of(*values: Any) -> tuple[str, ...]:
    """The texts that must not be shown; other values (functions that return a key) are skipped."""
    found = []
    for value in values:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        # Short ones ("none", "test") are not secrets, and would be found in any text.
        if isinstance(text, str) and len(text) >= 8:
            found.append(text)
    return tuple(found)


def scrub(error: E, secrets: Iterable[str]) -> E:
    """Remove secrets that a provider echoed from an error: its text, its arguments, its fields.

    This changes the error and its causes in place. Objects inside them (requests, responses) are
    not searched, because they do not show their headers.
    """
    wanted = tuple(secrets)
    if not wanted:
        return error
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if _shows(current, wanted):
            current.args = tuple(_clean(argument, wanted) for argument in current.args)
            for name, value in list(vars(current).items()):
                if isinstance(value, (str, Mapping, list, tuple)):
                    setattr(current, name, _clean(value, wanted))
        current = current.__cause__ or current.__context__
    return error


def scrub_text(text: str, secrets: Iterable[str]) -> str:
    """Remove secrets from a text."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def _shows(error: BaseException, secrets: tuple[str, ...]) -> bool:
    shown = f"{error!s} {error.args!r} {vars(error)!r}"
    return any(secret in shown for secret in secrets)


def _clean(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return scrub_text(value, secrets)
    if isinstance(value, Mapping):
        return {_clean(k, secrets): _clean(item, secrets) for k, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(_clean(item, secrets) for item in value)
    if isinstance(value, (list, tuple)):
        return type(value)(_clean(item, secrets) for item in value)
    return value


def hidden_headers(headers: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Headers with hidden values: only the names are shown."""
    return None if headers is None else dict.fromkeys(headers, HIDDEN)
