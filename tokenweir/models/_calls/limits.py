"""The limits of a model as its arguments: ``chat_model(name, first_token_timeout=20)``."""

from __future__ import annotations

import math
from typing import Any

import httpx2
from pydantic import BaseModel, Field

from tokenweir.models._calls.policy import CONNECT, FIRST_TOKEN, GAP, CallPolicy

__all__ = ["Limits"]


class Limits(BaseModel):
    """Limits that all of Tokenweir's models take, in seconds; None for the default, 0 for no limit.

    ``timeout=`` sets those of the three that are not given individually.
    """

    connect_timeout: float | None = Field(default=None, ge=0)
    """For opening a connection; 5 s by default."""

    first_token_timeout: float | None = Field(default=None, ge=0)
    """From the request to the first token, or to the whole answer if not streamed; 600 s."""

    token_gap_timeout: float | None = Field(default=None, ge=0)
    """From one token to the next; 120 s."""

    longest_retry_wait: float = Field(default=30.0, ge=0)
    """The longest wait before a retry, whatever the provider asks for."""

    def call_policy(self, *, timeout: Any = None, gap: float = GAP, retries: int = 2) -> CallPolicy:
        """The limits as numbers.

        Args:
            timeout: The model's ``timeout=``: seconds, an ``httpx2.Timeout``, or None.
            gap: The default for the gap.
            retries: How often a call is retried before its first token.
        """
        connect, read = _parts(timeout)
        return CallPolicy(
            connect=_limit(self.connect_timeout, connect, CONNECT),
            first_token=_limit(self.first_token_timeout, read, FIRST_TOKEN),
            gap=_limit(self.token_gap_timeout, read, gap),
            retries=retries,
            longest_wait=self.longest_retry_wait,
        )

    def http_timeout(self, policy: CallPolicy) -> httpx2.Timeout | None:
        """The HTTP client's timeout, for what comes before a stream of tokens; None for its own."""
        if self.connect_timeout is None and self.first_token_timeout is None:
            return None
        return httpx2.Timeout(
            None, connect=_finite(policy.connect), read=_finite(policy.first_token)
        )


def _finite(limit: float) -> float | None:
    return None if limit == math.inf else limit


def _limit(own: float | None, shared: float | None, default: float) -> float:
    given = own if own is not None else shared if shared is not None else default
    return given or math.inf


def _parts(timeout: Any) -> tuple[float | None, float | None]:
    if isinstance(timeout, httpx2.Timeout):
        return timeout.connect or 0.0, timeout.read or 0.0
    if isinstance(timeout, tuple):
        return timeout[0], timeout[1]
    return (None, None) if timeout is None else (float(timeout), float(timeout))
