"""Requests and responses of the routes for the key-value store."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct

from tokenweir.serving.fields import said
from tokenweir.serving.langgraph.schema.common import Page, Time

__all__ = [
    "Item",
    "ItemKey",
    "ItemQuery",
    "ItemSearch",
    "Items",
    "NamespaceSearch",
    "Namespaces",
    "NewItem",
]

Depth: TypeAlias = Annotated[int, Meta(ge=1, le=1000)]


class Item(Struct, kw_only=True):
    """A value under its namespace and key."""

    namespace: list[str]
    key: str
    value: dict[str, Any]
    created_at: Time
    updated_at: Time


class ItemKey(Struct, kw_only=True):
    """Where an item is."""

    namespace: list[str] | None = None
    key: str


class NewItem(ItemKey, kw_only=True):
    """An item to save."""

    value: dict[str, Any]
    index: Annotated[Any, said("Ignored: semantic search is not supported.")] = None


class ItemQuery(Struct, kw_only=True):
    """Where an item is, for a URL."""

    key: str
    namespace: Annotated[str, said("Its labels, joined by dots.")] = ""


class ItemSearch(Page, kw_only=True):
    """Which items to list."""

    namespace_prefix: list[str] | None = None
    filter: Annotated[dict[str, Any] | None, said("What their values must match.")] = None
    query: Annotated[str | None, said("Ignored: semantic search is not supported.")] = None


class Items(Struct, kw_only=True):
    """The items found."""

    items: list[Item]


class NamespaceSearch(Page, kw_only=True):
    """Which namespaces to list."""

    prefix: list[str] | None = None
    suffix: list[str] | None = None
    max_depth: Annotated[Depth | None, said("Cut off after so many labels.")] = None


class Namespaces(Struct, kw_only=True):
    """The namespaces found."""

    namespaces: list[list[str]]
