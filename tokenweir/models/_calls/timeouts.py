"""How long a model call is waited for, and when it is tried again. No I/O, no clock.

Three limits, each with an error of its own: for connecting, for the first token, and for the gap
between tokens. Until the first token has been handed on, a call that failed for a passing reason
is tried again; after it never, because the reader would get tokens twice. How one waits is in
``_streams.py``; which errors pass is said at each client's border.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from tokenweir.errors import (
    ConnectTimeoutError,
    FirstTokenTimeoutError,
    StreamError,
    TokenGapTimeoutError,
)

__all__ = ["Patience", "Progress", "retry_after"]

Phase = Literal["connect", "first", "gap"]

CONNECT = 5.0
FIRST_TOKEN = 600.0
"""These two as the openai SDK has them: reasoning models may think that long."""
GAP = 120.0
"""As long as langchain-openai waits for the next chunk."""


@dataclass(frozen=True)
class Patience:
    """The limits of one model, in seconds, and how often and how late it is tried again.

    Attributes:
        connect: For opening a connection; ``math.inf`` for no limit, here and below.
        first_token: From asking to the first chunk that holds something.
        gap: From one chunk to the next. Comments that keep a connection alive do not count.
        retries: How often a call is tried again that failed before its first token.
        longest_wait: The longest wait before a retry, whatever ``Retry-After`` says.
    """

    connect: float = CONNECT
    first_token: float = FIRST_TOKEN
    gap: float = GAP
    retries: int = 2
    longest_wait: float = 30.0

    def wait(
        self, attempt: int, asked: float | None, chance: Callable[[], float] = random.random
    ) -> float:
        """Seconds to wait before retry number ``attempt`` (from 0); ``asked`` by the provider.

        What the provider asks for is respected and a little is added, else twice as long each
        time and a part taken off, so that many clients do not come back at the same moment.
        """
        if asked is not None:
            return min(asked * (1 + 0.1 * chance()), self.longest_wait)
        return float(min(0.5 * 2**attempt, 8.0, self.longest_wait) * (1 - 0.5 * chance()))


class Progress:
    """One call: how much of it has arrived, and which limit runs.

    Args:
        patience: The model's.
        provider: For errors, as ``ls_provider``.
        model: For errors, as ``ls_model_name``.
    """

    __slots__ = ("attempt", "characters", "chunks", "ended", "model", "patience", "provider")

    def __init__(self, patience: Patience, provider: str | None, model: str | None) -> None:
        self.patience = patience
        self.provider = provider
        self.model = model
        self.attempt = 0
        self.chunks = 0
        self.characters = 0
        self.ended = False

    def took(self, characters: int | None, ended: bool, chunks: int = 1) -> None:
        """An event has come: with so many characters (0 for a tool call), or None if it is empty.

        ``ended`` if it says that the answer is over; ``chunks`` for how many it stands.
        """
        if characters is not None:
            self.chunks += chunks
            self.characters += characters
        if ended:
            self.ended = True

    def done(self) -> None:
        """The provider has said that the stream is over."""
        self.ended = True

    @property
    def limit(self) -> float:
        """The seconds that the next event may take; ``math.inf`` for no limit."""
        return self.patience.gap if self.chunks else self.patience.first_token

    def may_retry(self) -> bool:
        """Whether there is a retry left, and no token has been handed on. Counts it as used."""
        if self.chunks or self.attempt >= self.patience.retries:
            return False
        self.attempt += 1
        return True

    def expired(self, phase: Phase | None = None) -> StreamError:
        """The error for the limit that ran out: by default the one that runs now."""
        if phase == "connect":
            return ConnectTimeoutError(
                f"no connection within {_seconds(self.patience.connect)} (connect_timeout)",
                **self._story(),
            )
        if self.chunks:
            return TokenGapTimeoutError(
                f"no further token came within {_seconds(self.patience.gap)} (token_gap_timeout)",
                **self._story(),
            )
        return FirstTokenTimeoutError(
            f"no token came within {_seconds(self.patience.first_token)} (first_token_timeout)",
            **self._story(),
        )

    def cut_short(self) -> StreamError:
        """The error for a stream that ended without the provider's saying so."""
        return StreamError(
            "the provider ended the stream without a finish reason, so the answer is not whole",
            **self._story(),
        )

    def _story(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "model": self.model,
            "chunks": self.chunks,
            "characters": self.characters,
        }


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that ``Retry-After`` (or ``Retry-After-Ms``) asks for; None if it asks nothing.

    ``now`` in seconds since 1970, for the form with a date.
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


def _seconds(limit: float) -> str:
    return f"{limit:g} s"
