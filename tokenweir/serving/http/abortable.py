"""Direct access to a connection, past the layers of middleware. uvicorn only.

The ``send`` that uvicorn passes to an application is a method of an object that has the
connection's ``transport``. With another server the application works without both shortcuts.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["abortable"]


def abortable(app: ASGIApp) -> ASGIApp:
    """Let an application drop connections by ``scope["tokenweir.abort"]``, if uvicorn can.

    And write parts of a response that has begun by ``scope["tokenweir.send"]``: past the layers of
    middleware, which do nothing about them, for each token.
    """

    async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
        scope["tokenweir.send"] = send
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if transport is not None:
            scope["tokenweir.abort"] = transport.abort
        await app(scope, receive, send)

    return with_abort
