"""The server's description: ``/openapi.json`` for programs, ``/docs`` for people.

The page is HTML made here, without scripts and without anything from elsewhere: it works offline.
"""

from __future__ import annotations

import base64
import hashlib

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tokenweir.serving.description import describe
from tokenweir.serving.description.html import STYLE, page_of
from tokenweir.serving.service import Service

__all__ = ["routes"]


def routes(service: Service) -> list[BaseRoute]:
    """The routes of the description; they need no key."""
    described = describe(keys=service.keyed)
    page = page_of(described)
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    headers = {
        "cache-control": "no-cache",
        "content-security-policy": f"default-src 'none'; style-src 'sha256-{style}'; "
        "img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }

    async def openapi(request: Request) -> Response:
        prefix = request.scope.get("root_path", "")
        return JSONResponse({**described, "servers": [{"url": prefix or "/"}]})

    async def docs(request: Request) -> Response:
        return HTMLResponse(page, headers=headers)

    return [Route("/openapi.json", openapi), Route("/docs", docs)]
