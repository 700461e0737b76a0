"""All contact of this room with private names of langchain-openai and LangGraph.

What is assumed, each with a test:

- langchain-openai builds its default HTTP clients with the functions imported here, and their
  arguments are the base URL, the timeout and the socket options.
- A resource of the openai SDK keeps its client as ``_client``, and everything that a client asks
  goes through its ``request(cast_to, options, stream=..., stream_cls=...)``.
- LangGraph runs an async node under ``arun_with_retry``, whose first argument is the task, with
  the node's name.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import openai
from langchain_openai import ChatOpenAI, OpenAI

try:
    from langchain_openai.chat_models._client_utils import (
        _build_async_httpx_client,
        _build_proxied_async_httpx_client,
        _build_proxied_sync_httpx_client,
        _build_sync_httpx_client,
        _resolve_socket_options,
        _should_bypass_socket_options_for_proxy_env,
    )
    from langchain_openai.chat_models.base import global_ssl_context

    _KNOWN = True
except ImportError:  # a langchain-openai that moved its rooms
    _KNOWN = False

__all__ = [
    "async_http_client",
    "client_of",
    "is_openais_own",
    "running_node",
    "sync_http_client",
]


def client_of(resource: Any) -> Any:
    """The client that a resource (``client.completions``) belongs to."""
    return resource._client


def is_openais_own(client: Any) -> bool:
    """Whether a client of the openai SDK talks to OpenAI, and not to a compatible server."""
    host = urlsplit(str(client.base_url)).hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")


def _socket_options(model: ChatOpenAI | OpenAI) -> Any:
    given = getattr(model, "http_socket_options", None)
    if _should_bypass_socket_options_for_proxy_env(
        http_socket_options=given,
        http_client=None,
        http_async_client=None,
        openai_proxy=model.openai_proxy,
    ):
        return ()
    return _resolve_socket_options(given)


def async_http_client(model: ChatOpenAI | OpenAI) -> Any:
    """A fresh HTTP client like the one that ChatOpenAI would share between all its models."""
    if not _KNOWN:
        return openai.DefaultAsyncHttpxClient(proxy=model.openai_proxy)
    options = _socket_options(model)
    if model.openai_proxy:
        return _build_proxied_async_httpx_client(model.openai_proxy, global_ssl_context, options)
    return _build_async_httpx_client(model.openai_api_base, model.request_timeout, options)


def sync_http_client(model: ChatOpenAI | OpenAI) -> Any:
    """As ``async_http_client``, for sync calls."""
    if not _KNOWN:
        return openai.DefaultHttpxClient(proxy=model.openai_proxy)
    options = _socket_options(model)
    if model.openai_proxy:
        return _build_proxied_sync_httpx_client(model.openai_proxy, global_ssl_context, options)
    return _build_sync_httpx_client(model.openai_api_base, model.request_timeout, options)


def running_node() -> str | None:
    """The name of the LangGraph node that this coroutine is running in, if it is in one.

    Read from the stack: before Python 3.11 a node's context does not reach what it calls, which
    is just when one wants to know.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "arun_with_retry":
            return getattr(frame.f_locals.get("task"), "name", None)
        frame = frame.f_back
    return None
