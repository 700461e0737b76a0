"""The policy for a model's calls: how long to wait, and when to retry. No I/O, no clock.

There are three limits, each with its own error: for connecting, for the first token, and for the
gap between tokens. A call that fails for a transient reason before its first token is retried.
After the first token it never is, because the reader would get tokens twice.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

__all__ = ["CONNECT", "FIRST_TOKEN", "GAP", "CallPolicy", "retry_after"]

CONNECT = 5.0
FIRST_TOKEN = 600.0
"""The openai SDK's default: reasoning models may think that long."""
GAP = 120.0
"""As long as langchain-openai waits for the next chunk."""


@dataclass(frozen=True)
class CallPolicy:
    """The limits of one model's calls in seconds, and how they are retried.

    Attributes:
        connect: For opening a connection; ``math.inf`` for no limit, here and below.
        first_token: From the request to the first chunk with content.
        gap: From one such chunk to the next. Comments and empty chunks do not count.
        retries: How often a call that failed before its first token is retried.
        longest_wait: The longest wait before a retry, whatever ``Retry-After`` says.
    """

    connect: float = CONNECT
    first_token: float = FIRST_TOKEN
    gap: float = GAP
    retries: int = 2
    longest_wait: float = 30.0

    def delay(
        self, attempt: int, asked: float | None, chance: Callable[[], float] = random.random
    ) -> float:
        """Seconds to wait before retry number ``attempt`` (from 0).

        The delay that the provider ``asked`` for is respected, and a little is added. Otherwise the
        delay doubles each time and is randomly shortened, so that many clients do not retry at the
        same moment.
        """
        if asked is not None:
            return min(asked * (1 + 0.1 * chance()), self.longest_wait)
        return float(min(0.5 * 2**attempt, 8.0, self.longest_wait) * (1 - 0.5 * chance()))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that ``Retry-After`` (or ``Retry-After-Ms``) asks for; None without one.

    ``now`` is in seconds since 1970, for the form with a date.
    """
    named = {str(name).lower(): value for name, value in headers.items()}
    milliseconds = _number(named.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    given = named.get("retry-after")
    seconds = _number(given)
    if seconds is not None or not given:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - now)
    except (TypeError, ValueError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
