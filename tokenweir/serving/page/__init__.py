"""The page at ``/`` and the client module: static files for browsers, without a build step."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tokenweir.serving.http.endpoints import Operation, routes_of
from tokenweir.serving.problems import NotFoundError
from tokenweir.serving.service import Service

__all__ = ["routes"]

_HERE = Path(__file__).parent
_TYPES = {
    "answers.js": "text/javascript",
    "client.d.ts": "text/plain",
    "client.js": "text/javascript",
    "conversation.js": "text/javascript",
    "form.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "index.html": "text/html",
    "kept.js": "text/javascript",
    "lanes.js": "text/javascript",
    "message.js": "text/javascript",
    "meter.js": "text/javascript",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "picture.js": "text/javascript",
    "server.js": "text/javascript",
}
"""All files that are served, with their types."""

_AS_IT_WAS = {304: "Not modified."}
_POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def routes(service: Service) -> list[BaseRoute]:
    """The routes of the page; they need no key, as the page asks for one."""
    return routes_of(_Page(), "Page")


class _Page:
    @Operation("GET", "/", gives=str, kinds=["text/html"], also=_AS_IT_WAS)
    async def index(self, request: Request) -> Response:
        """Show the page that runs graphs in a browser."""
        return _answer(request, "index.html")

    @Operation(
        "GET", "/page/{name}", gives=str, kinds=sorted(set(_TYPES.values())), also=_AS_IT_WAS
    )
    async def file(self, request: Request) -> Response:
        """Read a file of the page; `client.js` is the module for other pages."""
        name: str = request.path_params["name"]
        if name not in _TYPES:
            raise NotFoundError(f"there is no file {name!r}")
        return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    body, tag = _read(name)
    headers = {
        "etag": tag,
        "cache-control": "no-cache",
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=_TYPES[name], headers=headers)


@cache
def _read(name: str) -> tuple[bytes, str]:
    """A file and its etag; cached, as the package does not change."""
    body = (_HERE / name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
