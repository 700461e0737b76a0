"""The state of one model call: how much has arrived, which limit runs, whether to try again.

Plain decisions without I/O. The loops around them, async and sync, are in ``retries.py`` and
``streams.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tokenweir.errors import (
    ConnectTimeoutError,
    FirstTokenTimeoutError,
    StreamError,
    TokenGapTimeoutError,
)
from tokenweir.models._calls.policy import CallPolicy
from tokenweir.streaming.calls import Received

__all__ = ["CallState", "ClientAdapter", "Failure"]


@dataclass(frozen=True)
class Failure:
    """What a client's error means.

    Attributes:
        error: What to raise for it.
        transient: Whether trying again may help.
        retry_after: Seconds that the provider asks for.
    """

    error: BaseException
    transient: bool
    retry_after: float | None = None


class CallState:
    """One call of a model.

    Args:
        policy: The model's.
        provider: For errors, as ``ls_provider``.
        model: For errors, as ``ls_model_name``.
    """

    __slots__ = (
        "_opening",
        "_openings",
        "attempt",
        "ended",
        "model",
        "policy",
        "provider",
        "received",
    )

    def __init__(self, policy: CallPolicy, provider: str | None, model: str | None) -> None:
        self.policy = policy
        self.provider = provider
        self.model = model
        self.attempt = 0
        self.received = Received()
        self.ended = False
        self._opening = 0
        self._openings = 0

    def record(self, characters: int | None, ended: bool) -> None:
        """Count an event of so many characters (0 for a tool call, None if it is empty).

        ``ended`` if it says that the answer is over.
        """
        if characters is not None:
            self.received.tokens += 1
            self.received.characters += characters
        if ended:
            self.ended = True

    def end(self) -> None:
        """The provider has said that the stream is over."""
        self.ended = True

    @property
    def limit(self) -> float:
        """The seconds that the next token may take; ``math.inf`` for no limit."""
        return self.policy.gap if self.received.tokens else self.policy.first_token

    def begin_attempt(self) -> None:
        """A stream is opened, for the first time or again."""
        self._opening = 0

    def repeats_opening(self) -> bool:
        """Whether an empty event before the first token was handed on by an earlier attempt."""
        self._opening += 1
        if self._opening <= self._openings:
            return True
        self._openings = self._opening
        return False

    def retry_delay(
        self,
        error: BaseException,
        classify_error: Callable[[BaseException, CallState], Failure],
    ) -> float:
        """Seconds after which to try again; raises if the call must not be tried again."""
        failure = classify_error(error, self)
        may_retry = not self.received.tokens and self.attempt < self.policy.retries
        if failure.transient and may_retry:
            self.attempt += 1
            return self.policy.delay(self.attempt - 1, failure.retry_after)
        if failure.error is error:
            raise error
        raise failure.error from error

    def timeout_error(self, phase: Literal["connect"] | None = None) -> StreamError:
        """The error for the limit that ran out: by default the one that runs now."""
        policy = self.policy
        if phase == "connect":
            return ConnectTimeoutError(
                f"no connection within {policy.connect:g} s (connect_timeout)", **self._story()
            )
        if self.received.tokens:
            return TokenGapTimeoutError(
                f"no further token came within {policy.gap:g} s (token_gap_timeout)",
                **self._story(),
            )
        return FirstTokenTimeoutError(
            f"no token came within {policy.first_token:g} s (first_token_timeout)", **self._story()
        )

    def cut_short_error(self) -> StreamError:
        """The error for a stream that ended without the provider's saying so."""
        return StreamError(
            "the provider ended the stream without a finish reason, so the answer is not whole",
            **self._story(),
        )

    def _story(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "model": self.model,
            "chunks": self.received.tokens,
            "characters": self.received.characters,
        }


@dataclass(frozen=True)
class ClientAdapter:
    """How a client's events and errors are read.

    Attributes:
        inspect: The characters of an event (0 for a tool call, None if it is empty), and whether
            it says that the answer is over.
        classify_error: What an error means.
        call_when_done: Has a function called when the provider ends a stream that was just opened,
            where no event says so.
    """

    inspect: Callable[[Any], tuple[int | None, bool]]
    classify_error: Callable[[BaseException, CallState], Failure]
    call_when_done: Callable[[Any, Callable[[], object]], None] = lambda stream, done: None
