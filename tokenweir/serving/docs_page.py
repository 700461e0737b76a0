"""The API description: ``/openapi.json`` for programs, ``/docs`` for people.

The page is static HTML without scripts or external resources, so it works offline.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from functools import cached_property
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from tokenweir.serving.description import describe
from tokenweir.serving.description.html import STYLE, page_of
from tokenweir.serving.http.endpoints import Operation, routes_of
from tokenweir.serving.service import Service

__all__ = ["routes"]


def routes(service: Service, others: list[BaseRoute]) -> list[BaseRoute]:
    """The routes of the description, which need no key. ``others`` are described, too."""
    room = _Description(keys=service.keyed)
    room.described = [*others, *(made := routes_of(room, "Server"))]
    return made


class _Description:
    """Built on the first request, in a thread, as it takes a tenth of a second."""

    described: list[BaseRoute]

    def __init__(self, *, keys: bool) -> None:
        self._keys = keys

    @cached_property
    def document(self) -> dict[str, Any]:
        return describe(self.described, keys=self._keys)

    @cached_property
    def page(self) -> str:
        return page_of(self.document)

    @Operation("GET", "/openapi.json")
    async def openapi(self, request: Request) -> dict[str, Any]:
        """Read this API description as a document in OpenAPI 3.1."""
        prefix = request.scope.get("root_path", "")
        document = await asyncio.to_thread(lambda: self.document)
        return {**document, "servers": [{"url": prefix or "/"}]}

    @Operation("GET", "/docs", gives=str, kinds=["text/html"])
    async def docs(self, request: Request) -> Response:
        """Show this API description as a page."""
        return HTMLResponse(await asyncio.to_thread(lambda: self.page), headers=_HEADERS)


_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; "
    "img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
