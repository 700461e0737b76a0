"""The descriptions of fields of requests and responses."""

from __future__ import annotations

from msgspec import Meta

__all__ = ["said"]


def said(text: str) -> Meta:
    """A field's description, for the API description and for errors about wrong values."""
    return Meta(description=text)
