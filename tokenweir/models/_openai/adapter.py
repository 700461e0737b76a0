"""The openai SDK's calls, made with patience: limits, retries, and no key in any error.

Not the SDK's own retries: they end when the response begins, and a connection may break after
that and before the first token.
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
from tokenweir.models._calls.streams import (
    AsyncPatientStream,
    Border,
    Failure,
    PatientStream,
    patiently,
    patiently_sync,
)
from tokenweir.models._calls.timeouts import Progress, retry_after
from tokenweir.models._openai import http_clients, requests
from tokenweir.models._openai.byte_source import AsyncBatches
from tokenweir.models._openai.parser import Batch, weigh
from tokenweir.models.secrets import scrub

__all__ = ["look", "make_patient", "make_patient_sync"]

_PASSING_STATUS = frozenset((408, 409, 429))
_PASSING_KINDS = ("server", "overload", "rate_limit", "unavailable", "timeout")


def make_patient(
    client: Any, new_progress: Callable[[], Progress], secrets: tuple[str, ...], timeout: Any = None
) -> None:
    """Have an ``AsyncOpenAI`` client wait and retry as ``new_progress()`` says, per call.

    ``timeout`` is the HTTP client's, where a call does not bring its own.
    """
    request = client.request
    http_clients.remember_urls(client)
    border = Border(look, _understanding(secrets), requests.call_at_done)
    # Batches are waited for here, by tokens; the HTTP client would set a timer per packet as well.
    without_read = _without_read(client.timeout if timeout is None else timeout)

    async def patient(
        cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        if isinstance(options.timeout, openai.NotGiven) and _is_batches(stream_cls):
            options.timeout = without_read
        _ours(options, timeout)

        async def call() -> Any:
            return await request(cast_to, options, stream=stream, stream_cls=stream_cls)

        if not stream:
            return await patiently(call, new_progress(), border)
        return await AsyncPatientStream.opened(call, new_progress(), border)

    client.request = patient


def make_patient_sync(
    client: Any,
    new_progress: Callable[[], Progress],
    secrets: tuple[str, ...],
    timeout: Any = None,
) -> None:
    """As ``make_patient``, for an ``OpenAI`` client."""
    request = client.request
    http_clients.remember_urls(client)
    border = Border(look, _understanding(secrets), requests.call_at_done)

    def patient(cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        _ours(options, timeout)

        def call() -> Any:
            return request(cast_to, options, stream=stream, stream_cls=stream_cls)

        if not stream:
            return patiently_sync(call, new_progress(), border)
        return PatientStream.opened(call, new_progress(), border)

    client.request = patient


def _ours(options: Any, timeout: Any) -> None:
    options.max_retries = 0  # they are made here
    if timeout is not None and isinstance(options.timeout, openai.NotGiven):
        options.timeout = timeout


def _is_batches(stream_cls: Any) -> bool:
    return isinstance(stream_cls, type) and issubclass(stream_cls, AsyncBatches)


def _without_read(timeout: Any) -> httpx2.Timeout:
    parts = timeout if isinstance(timeout, httpx2.Timeout) else httpx2.Timeout(timeout)
    return httpx2.Timeout(connect=parts.connect, read=None, write=parts.write, pool=parts.pool)


def look(event: Any) -> tuple[int | None, bool]:
    """What an event, or a batch of them, holds; see ``Border``."""
    if type(event) is Batch:
        return (event.characters if event.chunks else None), event.ended
    return weigh(event)


def _understanding(secrets: tuple[str, ...]) -> Callable[[BaseException, Progress], Failure]:
    def understand(error: BaseException, progress: Progress) -> Failure:
        return _understood(scrub(error, secrets), progress)

    return understand


def _understood(error: BaseException, progress: Progress) -> Failure:
    if isinstance(error, TokenweirError):
        # A limit is a limit; a stream that ended too early may be whole next time.
        return Failure(error, type(error) is StreamError)
    if isinstance(error, openai.APIStatusError):
        after = retry_after(error.response.headers, time.time())
        return Failure(error, _status_passes(error), after)
    reason = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
    if isinstance(reason, httpx2.ConnectTimeout):
        if _was_broken(reason):
            request = getattr(error, "request", None) or httpx2.Request("POST", "")
            broken = openai.APIConnectionError(message=str(reason), request=request)
            broken.__cause__ = reason
            return Failure(broken, True)
        return Failure(progress.expired("connect"), True)
    if isinstance(reason, httpx2.ReadTimeout):
        return Failure(progress.expired(), False)
    if isinstance(error, (openai.APIConnectionError, httpx2.TransportError)):
        return Failure(error, True)
    if isinstance(error, openai.APIError):
        return Failure(error, _event_passes(error))
    return Failure(error, False)


def _was_broken(reason: BaseException) -> bool:
    """Whether a connection was refused or broke: aiohttp's transport calls that a time-out, too."""
    cause = reason.__cause__
    return isinstance(cause, (aiohttp.ClientConnectionError, OSError)) and not isinstance(
        cause, (TimeoutError, asyncio.TimeoutError)
    )


def _status_passes(error: openai.APIStatusError) -> bool:
    told = error.response.headers.get("x-should-retry")
    if told in ("true", "false"):
        return bool(told == "true")
    if error.code == "insufficient_quota":  # a 429 that waiting does not help
        return False
    return error.status_code in _PASSING_STATUS or error.status_code >= 500


def _event_passes(error: openai.APIError) -> bool:
    """Whether an error that came as an event of a stream is the provider's, and not the asker's."""
    code = str(error.code or "")
    if code.isdigit():
        return int(code) in _PASSING_STATUS or int(code) >= 500
    told = f"{code} {error.type or ''}".lower()
    return any(kind in told for kind in _PASSING_KINDS)
