"""The server's description: ``/openapi.json`` for programs, ``/docs`` for people.

The page is HTML made here, without scripts and without anything from elsewhere: it works offline.
"""

from __future__ import annotations

import base64
import hashlib
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
    """The routes of the description; they need no key. ``others`` are described as well."""
    room = _Description()
    made = routes_of(room, "Server")
    room.document = describe([*others, *made], keys=service.keyed)
    room.page = page_of(room.document)
    return made


class _Description:
    document: dict[str, Any]
    page: str

    @Operation("GET", "/openapi.json")
    async def openapi(self, request: Request) -> dict[str, Any]:
        """Read this description, a document in OpenAPI 3.1."""
        prefix = request.scope.get("root_path", "")
        return {**self.document, "servers": [{"url": prefix or "/"}]}

    @Operation("GET", "/docs", gives=str, kinds=["text/html"])
    async def docs(self, request: Request) -> Response:
        """Show this description, to be read."""
        return HTMLResponse(self.page, headers=_HEADERS)


_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; "
    "img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
