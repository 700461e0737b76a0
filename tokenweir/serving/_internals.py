"""Contact with private names of LangGraph, and with the insides of uvicorn and asyncio.

What is assumed, with a test: ``build_serde_allowlist(schemas=, channels=)`` collects the classes
that the types of a graph's state name, as ``(module, name)``; the ``send`` that uvicorn gives is a
method of an object with the connection's ``transport``.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any

from langgraph.pregel import Pregel
from starlette.types import ASGIApp, Receive, Scope, Send

try:
    from langgraph._internal import _serde

    _allowlist: Any = _serde.build_serde_allowlist
except (ImportError, AttributeError):  # it moved its rooms: only its own safe types are revived
    _allowlist = None

__all__ = ["abortable", "new_loop", "state_types"]


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


class _Selector(selectors.DefaultSelector):
    """Asks the system for news only every few turns while there is still work.

    A loop with work left asks each turn without waiting. A token takes three turns from the
    provider's socket to the client's, and asking costs as much as much of what is done in them.
    """

    _TURNS = 4
    _turn = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0 and self._turn < self._TURNS:
            self._turn += 1
            return []
        self._turn = 0
        return super().select(timeout)


class _Loop(asyncio.SelectorEventLoop):
    """Wakes itself up only for other threads.

    LangGraph hands on every token by ``call_soon_threadsafe``, most from the loop's own thread,
    where there is nobody to wake: without this each costs a write to a socket and a read of it.
    Not for a handler of ``signal.signal``, which may run while the loop sleeps in this thread.
    """

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if asyncio.events._get_running_loop() is self:
            return self.call_soon(callback, *args, context=context)
        return super().call_soon_threadsafe(callback, *args, context=context)


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop for a server."""
    return asyncio.new_event_loop() if sys.platform == "win32" else _Loop(_Selector())
