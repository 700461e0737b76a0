"""The openai SDK's calls within limits: timeouts, retries, and no key in any error.

The SDK's own retries are not used: they end when the response begins, and a connection may break
after that and before the first token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx2
import openai

from tokenweir.errors import StreamError, TokenweirError
from tokenweir.models._calls.policy import retry_after
from tokenweir.models._calls.retries import with_retries, with_retries_sync
from tokenweir.models._calls.state import CallState, ClientAdapter, Failure
from tokenweir.models._calls.streams import AsyncRetryingStream, RetryingStream
from tokenweir.models._openai import http_clients
from tokenweir.models._openai.parser import inspect_event
from tokenweir.models._openai.requests import RawStream, SyncRawStream, call_when_done
from tokenweir.models.secrets import scrub

__all__ = ["add_retries", "add_retries_sync", "error_classifier"]

_TRANSIENT_STATUS = frozenset((408, 409, 429))
_TRANSIENT_KINDS = ("server", "overload", "rate_limit", "unavailable", "timeout")

Classify = Callable[[BaseException, CallState], Failure]


def add_retries(
    client: Any, new_state: Callable[[], CallState], classify_error: Classify, timeout: Any = None
) -> None:
    """Have the calls of an ``AsyncOpenAI`` client waited for, and tried again, as its states say.

    A request for a ``RawStream`` is made once, without retries: its caller waits and retries.

    Args:
        client: The client; it is changed.
        new_state: Makes the state of a call.
        classify_error: What the client's errors mean.
        timeout: The HTTP client's, where a call does not bring its own.
    """
    request = client.request
    http_clients.remember_urls(client)
    adapter = ClientAdapter(inspect_event, classify_error, call_when_done)
    # Whoever reads a RawStream waits by tokens; the HTTP client would set a timer per packet, too.
    without_read = _without_read(client.timeout if timeout is None else timeout)

    async def request_with_retries(
        cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None, **more: Any
    ) -> Any:
        raw = stream_cls is RawStream
        if raw and isinstance(options.timeout, openai.NotGiven):
            options.timeout = without_read
        _set_options(options, timeout)

        async def call() -> Any:
            return await request(cast_to, options, stream=stream, stream_cls=stream_cls, **more)

        if raw:
            return await call()
        if not stream:
            return await with_retries(call, new_state(), classify_error)
        return await AsyncRetryingStream.opened(call, new_state(), adapter)

    client.request = request_with_retries


def add_retries_sync(
    client: Any, new_state: Callable[[], CallState], classify_error: Classify, timeout: Any = None
) -> None:
    """As ``add_retries``, for an ``OpenAI`` client and ``SyncRawStream``."""
    request = client.request
    http_clients.remember_urls(client)
    adapter = ClientAdapter(inspect_event, classify_error, call_when_done)

    def request_with_retries(
        cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None, **more: Any
    ) -> Any:
        _set_options(options, timeout)

        def call() -> Any:
            return request(cast_to, options, stream=stream, stream_cls=stream_cls, **more)

        if stream_cls is SyncRawStream:
            return call()
        if not stream:
            return with_retries_sync(call, new_state(), classify_error)
        return RetryingStream.opened(call, new_state(), adapter)

    client.request = request_with_retries


def _set_options(options: Any, timeout: Any) -> None:
    options.max_retries = 0  # they are made here
    if timeout is not None and isinstance(options.timeout, openai.NotGiven):
        options.timeout = timeout


def _without_read(timeout: Any) -> httpx2.Timeout:
    parts = timeout if isinstance(timeout, httpx2.Timeout) else httpx2.Timeout(timeout)
    return httpx2.Timeout(connect=parts.connect, read=None, write=parts.write, pool=parts.pool)


def error_classifier(secrets: tuple[str, ...]) -> Classify:
    """What errors of the SDK mean; these secrets are taken out of them."""

    def classify_error(error: BaseException, state: CallState) -> Failure:
        return _classified(scrub(error, secrets), state)

    return classify_error


def _classified(error: BaseException, state: CallState) -> Failure:
    if isinstance(error, TokenweirError):
        # A timeout is final; a stream that ended too early may be whole the next time.
        return Failure(error, type(error) is StreamError)
    if isinstance(error, openai.APIStatusError):
        after = retry_after(error.response.headers, time.time())
        return Failure(error, _is_transient_status(error), after)
    reason = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
    if isinstance(reason, httpx2.ConnectTimeout):
        if _was_broken(reason):
            request = getattr(error, "request", None) or httpx2.Request("POST", "")
            broken = openai.APIConnectionError(message=str(reason), request=request)
            broken.__cause__ = reason
            return Failure(broken, True)
        return Failure(state.timeout_error("connect"), True)
    if isinstance(reason, httpx2.ReadTimeout):
        return Failure(state.timeout_error(), False)
    if isinstance(error, (openai.APIConnectionError, httpx2.TransportError)):
        return Failure(error, True)
    if isinstance(error, openai.APIError):
        return Failure(error, _is_transient_event(error))
    return Failure(error, False)


def _was_broken(reason: BaseException) -> bool:
    """Whether a connection was refused or broke; the transport over aiohttp reports that as a
    timeout, too.
    """
    cause = reason.__cause__
    return isinstance(cause, (aiohttp.ClientConnectionError, OSError)) and not isinstance(
        cause, (TimeoutError, asyncio.TimeoutError)
    )


def _is_transient_status(error: openai.APIStatusError) -> bool:
    told = error.response.headers.get("x-should-retry")
    if told in ("true", "false"):
        return bool(told == "true")
    if error.code == "insufficient_quota":  # a 429 that waiting does not help
        return False
    return error.status_code in _TRANSIENT_STATUS or error.status_code >= 500


def _is_transient_event(error: openai.APIError) -> bool:
    """Whether an error event is the provider's fault, and not the request's."""
    code = str(error.code or "")
    if code.isdigit():
        return int(code) in _TRANSIENT_STATUS or int(code) >= 500
    told = f"{code} {error.type or ''}".lower()
    return any(kind in told for kind in _TRANSIENT_KINDS)
