"""LangGraph's key-value store in LangGraph's API: the ``store`` of graphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langgraph.store.base import InvalidNamespaceError
from langgraph.store.base import Item as Kept
from starlette.requests import Request
from starlette.routing import BaseRoute

from tokenweir.serving.http.endpoints import Operation, routes_of
from tokenweir.serving.langgraph.schema import items as schema
from tokenweir.serving.problems import InvalidError
from tokenweir.serving.running.items import Items
from tokenweir.serving.service import Service

__all__ = ["routes"]


def routes(service: Service) -> list[BaseRoute]:
    """The routes of the key-value store."""
    return routes_of(_Items(service), "Store")


class _Items:
    def __init__(self, service: Service) -> None:
        self._service = service

    def _of(self, request: Request) -> Items:
        return self._service.runs.items.of(self._service.owner(request))

    @Operation("PUT", "/store/items", refuses=(422, 503))
    async def put(self, request: Request, body: schema.NewItem) -> None:
        """Save a value under a namespace and a key, replacing an older one."""
        with _named():
            await self._of(request).aput(tuple(body.namespace or ()), body.key, body.value)

    @Operation(
        "GET",
        "/store/items",
        gives=schema.Item,
        also={204: "There is no such item."},
        refuses=(422, 503),
    )
    async def get(self, request: Request, query: schema.ItemQuery) -> schema.Item | None:
        """Read an item."""
        with _named():
            found = await self._of(request).aget(_labels(query.namespace), query.key)
        return None if found is None else _shown(found)

    @Operation("DELETE", "/store/items", refuses=(422, 503))
    async def delete(self, request: Request, body: schema.ItemKey) -> None:
        """Delete an item."""
        with _named():
            await self._of(request).adelete(tuple(body.namespace or ()), body.key)

    @Operation("POST", "/store/items/search", refuses=(422, 503))
    async def search(self, request: Request, body: schema.ItemSearch) -> schema.Items:
        """List the items below a namespace."""
        with _named():
            found = await self._of(request).asearch(
                tuple(body.namespace_prefix or ()),
                filter=body.filter,
                limit=body.most,
                offset=body.start,
            )
        return schema.Items(items=[_shown(each) for each in found])

    @Operation("POST", "/store/namespaces", refuses=(422, 503))
    async def namespaces(self, request: Request, body: schema.NamespaceSearch) -> schema.Namespaces:
        """List namespaces."""
        with _named():
            found = await self._of(request).alist_namespaces(
                prefix=tuple(body.prefix) if body.prefix else None,
                suffix=tuple(body.suffix) if body.suffix else None,
                max_depth=body.max_depth,
                limit=body.most,
                offset=body.start,
            )
        return schema.Namespaces(namespaces=[list(each) for each in found])


@contextmanager
def _named() -> Iterator[None]:
    """Raise LangGraph's error for an invalid namespace as InvalidError."""
    try:
        yield
    except InvalidNamespaceError as error:
        raise InvalidError(str(error)) from None


def _labels(namespace: str) -> tuple[str, ...]:
    return tuple(namespace.split(".")) if namespace else ()


def _shown(item: Kept) -> schema.Item:
    return schema.Item(
        namespace=list(item.namespace),
        key=item.key,
        value=item.value,
        created_at=item.created_at.isoformat(),
        updated_at=item.updated_at.isoformat(),
    )
