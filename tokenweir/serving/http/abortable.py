"""Direct access to a connection, bypassing middleware. It works with uvicorn only.

The ``send`` that uvicorn passes to an application is a method of an object with the connection's
``transport``. With other servers, the application works without these two shortcuts.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["abortable"]


def abortable(app: ASGIApp) -> ASGIApp:
    """Let an application drop a connection by ``scope["tokenweir.abort"]``, if uvicorn serves it.

    ``scope["tokenweir.send"]`` writes parts of a response that has begun without passing each
    token through layers of middleware, which do nothing with it.
    """

    async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
        scope["tokenweir.send"] = send
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if transport is not None:
            scope["tokenweir.abort"] = transport.abort
        await app(scope, receive, send)

    return with_abort
