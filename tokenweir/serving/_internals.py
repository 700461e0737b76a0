"""Contact with private names of LangGraph, and with the insides of uvicorn.

What is assumed, with a test: ``build_serde_allowlist(schemas=, channels=)`` collects the classes
that the types of a graph's state name, as ``(module, name)``; the ``send`` that uvicorn gives is a
method of an object with the connection's ``transport``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langgraph.pregel import Pregel
from starlette.types import ASGIApp, Receive, Scope, Send

try:
    from langgraph._internal import _serde

    _allowlist: Any = _serde.build_serde_allowlist
except (ImportError, AttributeError):  # it moved its rooms: only its own safe types are revived
    _allowlist = None

__all__ = ["abortable", "state_types"]


def state_types(graphs: Iterable[Any]) -> list[tuple[str, ...]]:
    """The classes that the states of these graphs and their subgraphs may hold."""
    found: set[tuple[str, ...]] = set()
    if _allowlist is None:
        return []
    for graph in graphs:
        if not isinstance(graph, Pregel):
            continue
        for each in (graph, *(below for _, below in graph.get_subgraphs(recurse=True))):
            builder: Any = getattr(each, "builder", None)
            schemas = [
                getattr(builder, name, None)
                for name in ("state_schema", "input_schema", "output_schema", "context_schema")
            ]
            schemas += [node.input_schema for node in getattr(builder, "nodes", {}).values()]
            channels = getattr(builder, "channels", None)
            found |= _allowlist(schemas=schemas, channels=channels)
    return sorted(found)


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
