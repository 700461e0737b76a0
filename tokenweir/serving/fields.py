"""The descriptions of fields of requests and responses."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

__all__ = ["Only", "said"]


def said(text: str) -> Meta:
    """A field's description, for the API description and for errors about wrong values."""
    return Meta(description=text)


Only: TypeAlias = Annotated[
    str | None,
    said("Which model calls pass: `tag:joke`, `node:write`, joined by `|`, `&`, `~`."),
]
"""A filter of model calls, as a parameter of a request."""
