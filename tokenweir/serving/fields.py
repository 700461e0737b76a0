"""How the fields of requests and answers say what they mean."""

from __future__ import annotations

from msgspec import Meta

__all__ = ["said"]


def said(text: str) -> Meta:
    """What a field means, for the description and for the error that tells of a wrong value."""
    return Meta(description=text)
