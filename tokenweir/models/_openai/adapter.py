"""Classifies errors of the openai SDK, and removes keys from their texts."""

from __future__ import annotations

import time

import httpx2
import openai

from tokenweir.errors import StreamError, TokenweirError
from tokenweir.models._calls.policy import retry_after
from tokenweir.models._calls.state import CallState, ClientAdapter, Failure
from tokenweir.models._openai.clients import call_when_done
from tokenweir.models._openai.parser import inspect_event
from tokenweir.models.secrets import scrub

__all__ = ["adapter_of"]

_TRANSIENT_STATUS = frozenset((408, 409, 429))
_TRANSIENT_KINDS = ("server", "overload", "rate_limit", "unavailable", "timeout")


def adapter_of(secrets: tuple[str, ...]) -> ClientAdapter:
    """How events and errors of the SDK are read; ``secrets`` are removed from the errors."""

    def classify_error(error: BaseException, state: CallState) -> Failure:
        return _classified(scrub(error, secrets), state)

    return ClientAdapter(inspect_event, classify_error, call_when_done)


def _classified(error: BaseException, state: CallState) -> Failure:
    if isinstance(error, TokenweirError):
        # A timeout is final; a stream that ended too early may be whole the next time.
        return Failure(error, type(error) is StreamError)
    if isinstance(error, openai.APIStatusError):
        after = retry_after(error.response.headers, time.time())
        return Failure(error, _is_transient_status(error), after)
    reason = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
    if isinstance(reason, httpx2.ConnectTimeout):
        return Failure(state.timeout_error("connect"), True)
    if isinstance(reason, httpx2.ReadTimeout):
        return Failure(state.timeout_error(), False)
    if isinstance(reason, httpx2.DecodingError):
        return Failure(reason, False)
    if isinstance(error, (openai.APIConnectionError, httpx2.TransportError)):
        return Failure(error, True)
    if isinstance(error, openai.APIError):
        return Failure(error, _is_transient_event(error))
    return Failure(error, False)


def _is_transient_status(error: openai.APIStatusError) -> bool:
    told = error.response.headers.get("x-should-retry")
    if told in ("true", "false"):
        return bool(told == "true")
    if error.code == "insufficient_quota":  # a 429 that waiting does not help
        return False
    return error.status_code in _TRANSIENT_STATUS or error.status_code >= 500


def _is_transient_event(error: openai.APIError) -> bool:
    """Whether an error event is the provider's fault, not the request's."""
    code = str(error.code or "")
    if code.isdigit():
        return int(code) in _TRANSIENT_STATUS or int(code) >= 500
    told = f"{code} {error.type or ''}".lower()
    return any(kind in told for kind in _TRANSIENT_KINDS)
