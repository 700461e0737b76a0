"""The state of one model call: how much has arrived, which limit applies, whether to retry.

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
    """The meaning of a client's error.

    Attributes:
        error: The exception to raise for it.
        transient: Whether a retry may help.
        retry_after: Seconds that the provider asks for.
    """

    error: BaseException
    transient: bool
    retry_after: float | None = None


class CallState:
    """One call of a model.

    Args:
        policy: The policy of the model.
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
        """Count an event with this many characters (0 for a tool call, None if it is empty).

        ``ended`` says whether it ends the answer.
        """
        if characters is not None:
            self.received.tokens += 1
            self.received.characters += characters
        if ended:
            self.ended = True

    def end(self) -> None:
        """Note that the provider has ended the stream."""
        self.ended = True

    @property
    def limit(self) -> float:
        """The seconds that the next token may take; ``math.inf`` for no limit."""
        return self.policy.gap if self.received.tokens else self.policy.first_token

    def begin_attempt(self) -> None:
        """Start an attempt, the first or another one."""
        self._opening = 0

    def repeats_opening(self) -> bool:
        """Whether an earlier attempt has delivered this empty event before the first token."""
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
        """Seconds to wait before a retry; raises the error if the call must not be retried."""
        failure = classify_error(error, self)
        may_retry = not self.received.tokens and self.attempt < self.policy.retries
        if failure.transient and may_retry:
            self.attempt += 1
            return self.policy.delay(self.attempt - 1, failure.retry_after)
        if failure.error is error:
            raise error
        raise failure.error from error

    def timeout_error(self, phase: Literal["connect"] | None = None) -> StreamError:
        """The error for the exceeded limit: by default the one that applies now."""
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
        """The error for a stream that the provider did not end explicitly."""
        return StreamError(
            "the provider ended the stream without a finish reason, so the answer is incomplete",
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
        inspect: Returns the characters of an event (0 for a tool call, None if it is empty), and
            whether it ends the answer.
        classify_error: Returns the meaning of an error.
        call_when_done: Registers a function to call when the provider ends a stream that was just
            opened, if no event says so.
    """

    inspect: Callable[[Any], tuple[int | None, bool]]
    classify_error: Callable[[BaseException, CallState], Failure]
    call_when_done: Callable[[Any, Callable[[], object]], None] = lambda stream, done: None
