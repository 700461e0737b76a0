"""HTTP clients for models, and what the openai SDK's own clients keep private.

Private names used: langchain-openai's functions that resolve socket options and build clients for
a proxy; ``_client`` of a resource of the openai SDK; ``_prepare_url`` of an SDK client, which joins
its base URL and a path.
"""

from __future__ import annotations

import logging
import os
import ssl
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from langchain_openai import ChatOpenAI, OpenAI

logger = logging.getLogger(__name__)

try:
    from langchain_openai.chat_models._client_utils import (
        _build_proxied_async_httpx_client,
        _build_proxied_sync_httpx_client,
        _resolve_socket_options,
        _should_bypass_socket_options_for_proxy_env,
    )

    _KNOWN = True
except ImportError as error:  # a langchain-openai that moved its rooms
    _KNOWN = False
    logger.warning("HTTP clients are made without langchain-openai's socket options: %s", error)


__all__ = ["async_http_client", "client_of", "is_openais_own", "remember_urls", "sync_http_client"]


def client_of(resource: Any) -> Any:
    """The client that a resource (``client.completions``) belongs to."""
    return resource._client


def remember_urls(client: Any) -> None:
    """Have a client of the SDK join its base URL and a path once, not for each request."""
    join = getattr(client, "_prepare_url", None)
    if join is None:
        return
    known: dict[str, tuple[Any, Any]] = {}

    def remembered(path: str) -> Any:
        base = client.base_url
        found = known.get(path)
        if found is None or found[0] is not base:
            if len(known) >= _KNOWN_PATHS:
                known.clear()
            found = known[path] = (base, join(path))
        return found[1]

    client._prepare_url = remembered


_KNOWN_PATHS = 16


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


@lru_cache(maxsize=4)
def _ssl_context(*environment: str | None) -> ssl.SSLContext:
    """What clients trust; reading the certificates takes some 30 ms, so all share it."""
    return httpx2.create_ssl_context()


def _trusted() -> ssl.SSLContext:
    return _ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


def async_http_client(model: ChatOpenAI | OpenAI) -> Any:
    """A fresh HTTP client like the one that ChatOpenAI would share between all its models.

    Over aiohttp, which reads at a third of the cost, unless socket options are asked for.
    """
    if not _KNOWN or getattr(model, "http_socket_options", None) is None:
        return openai.DefaultAioHttpClient(proxy=model.openai_proxy, verify=_trusted())
    options = _socket_options(model)
    if model.openai_proxy:
        return _build_proxied_async_httpx_client(model.openai_proxy, _trusted(), options)
    transport = httpx2.AsyncHTTPTransport(
        verify=_trusted(), socket_options=options, limits=openai.DEFAULT_CONNECTION_LIMITS
    )
    return openai.DefaultAsyncHttpxClient(transport=transport)


def sync_http_client(model: ChatOpenAI | OpenAI) -> Any:
    """As ``async_http_client``, for sync calls."""
    options = _socket_options(model) if _KNOWN else ()
    if not options:
        return openai.DefaultHttpxClient(proxy=model.openai_proxy, verify=_trusted())
    if model.openai_proxy:
        return _build_proxied_sync_httpx_client(model.openai_proxy, _trusted(), options)
    transport = httpx2.HTTPTransport(
        verify=_trusted(),
        socket_options=options,
        limits=openai.DEFAULT_CONNECTION_LIMITS,
    )
    return openai.DefaultHttpxClient(transport=transport)
