"""Finds the route of a model call from the callback handlers of its run manager."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler

from tokenweir.streaming._langgraph.handlers import CallHandler
from tokenweir.streaming._langgraph.messages import langgraph_route
from tokenweir.streaming._langgraph.probe import probe
from tokenweir.streaming.route import CallbackRoute, FanOut, Route

__all__ = ["route_of"]

_NO_TOKENS = (BaseCallbackHandler.on_llm_new_token, AsyncCallbackHandler.on_llm_new_token)


def route_of(
    handlers: Iterable[BaseCallbackHandler], run_id: UUID, message_id: str
) -> Route | None:
    """The route of a call, from the callback handlers of its run manager.

    Args:
        handlers: The run manager's handlers.
        run_id: The run id of the call.
        message_id: The id of all messages of the call.

    Returns:
        The route; None if only LangChain can give the call's tokens to some handler.
    """
    routes: list[Route] = []
    for handler in handlers:
        route = _route_by(handler, run_id, message_id)
        if route is None:
            return None
        if type(route) is not Route:
            routes.append(route)
    return routes[0] if len(routes) == 1 else FanOut(routes) if routes else Route()


def _route_by(handler: Any, run_id: UUID, message_id: str) -> Route | None:
    """The route of a call to one handler; None if only LangChain can give it the tokens."""
    if isinstance(handler, CallHandler):
        return handler.route(run_id, message_id)
    if (receiver := getattr(handler, "receiver", None)) is not None:
        send = receiver(run_id)  # one of Tokenweir's handlers, which takes plain messages
        return Route() if send is None else CallbackRoute(send)
    if handler.ignore_llm or _takes_no_tokens(handler):
        return Route()
    return None if probe() is not None else langgraph_route(handler, run_id, message_id)


def _takes_no_tokens(handler: Any) -> bool:
    return getattr(
        type(handler), "on_llm_new_token", None
    ) in _NO_TOKENS and "on_llm_new_token" not in vars(handler)
