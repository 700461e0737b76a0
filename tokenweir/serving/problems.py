"""The errors that requests can meet, and the limits of a server."""

from __future__ import annotations

from dataclasses import dataclass

from tokenweir.errors import TokenweirError

__all__ = [
    "CheckpointMissingError",
    "ConflictError",
    "CutOffError",
    "EmptyKeyError",
    "ForbiddenError",
    "GraphNameError",
    "InvalidError",
    "Limits",
    "LostError",
    "ModelNotFoundError",
    "NotFoundError",
    "ServingError",
    "StoreError",
    "TooBigError",
    "TooBusyError",
    "TooManyError",
    "UnauthorizedError",
]


class EmptyKeyError(TokenweirError):
    """Raised for an empty API key: it would match requests without a key."""


class GraphNameError(TokenweirError):
    """Raised for a graph's name that cannot be part of a URL, or of OpenAI's GRAPH:TAG."""


class ServingError(TokenweirError):
    """Base of errors that a client gets as an answer; the message is suitable for clients."""

    status = 500
    code: str | None = None
    """A code for programs, for protocols that have a field for it."""
    param: str | None = None
    """The invalid field of the request, for protocols that have a field for it."""


class InvalidError(ServingError):
    """Raised for an invalid request."""

    status = 422


class CheckpointMissingError(InvalidError):
    """Raised for a run that is to start from a checkpoint that its thread does not have."""

    def __init__(self, checkpoint_id: str) -> None:
        super().__init__(f"the thread has no checkpoint {checkpoint_id!r}")


class NotFoundError(ServingError):
    """Raised for what does not exist, or belongs to another owner."""

    status = 404


class ModelNotFoundError(NotFoundError):
    """Raised for a model name that is no graph here."""

    code = "model_not_found"
    param = "model"


class ConflictError(ServingError):
    """Raised for a thread that exists already, or is busy."""

    status = 409


class TooBigError(ServingError):
    """Raised for a body that exceeds the limit."""

    status = 413
    code = "request_too_large"


class TooManyError(ServingError):
    """Raised if an owner would exceed a limit."""

    status = 429
    code = "rate_limit_exceeded"


class TooBusyError(ServingError):
    """Raised when too many runs wait, or the server is stopping. Try again later."""

    status = 503
    code = "server_overloaded"


class StoreError(ServingError):
    """Raised when data cannot be stored, for example because the disk is full."""

    status = 503
    code = "server_overloaded"

    def __init__(self) -> None:
        super().__init__("the server cannot use its storage at the moment; try again later")


class LostError(TokenweirError):
    """Raised in a worker whose run was claimed by another one; its further writes are refused."""

    def __init__(self) -> None:
        super().__init__("the run was claimed by another worker")


class CutOffError(ServingError):
    """Raised in readers and waiters of a run when the server stops before the run has ended.

    The run is resumed later. Streams are aborted then, not closed, as that would mean their end.
    """

    status = 503
    code = "server_overloaded"


class ForbiddenError(ServingError):
    """Raised for requests from a page whose origin is not allowed."""

    status = 403


class UnauthorizedError(ServingError):
    """Raised for a missing or wrong API key."""

    status = 401
    code = "invalid_api_key"


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Attributes:
        body: The size of a request's body, in bytes.
        runs: Runs executed at a time; others wait.
        queue: Runs of one owner that may wait for their turn; others are refused.
        delayed: Runs of one owner that may wait for their time, ``after_seconds``.
        run_seconds: How long a run may take.
        drain_seconds: How long runs may continue when the server is told to stop; others are
            resumed later from their last checkpoint.
        slow_seconds: How long a reader may stop reading before its connection is dropped, and
            how long the head of a request, or the next part of its body, may take.
        heartbeat_seconds: Seconds between comments on a silent stream.
        assistants: Assistants that the clients of one key may create; they are never deleted
            automatically.
        threads: Threads that the clients of one key may have.
        keep_runs: Ended runs that are kept; the oldest are deleted first.
        keep_seconds: How long ended runs and their events are kept.
        keep_bytes: The size of events, and of checkpoints in a folder, that is kept, in bytes;
            the oldest ended runs are deleted first, and a thread with its last run.
    """

    body: int = 4 << 20
    runs: int = 1000
    queue: int = 1000
    delayed: int = 1000
    run_seconds: float = 3600.0
    drain_seconds: float = 20.0
    slow_seconds: float = 30.0
    heartbeat_seconds: float = 5.0
    assistants: int = 1000
    threads: int = 100_000
    keep_runs: int = 100_000
    keep_seconds: float = 7 * 86400.0
    keep_bytes: int = 4 << 30
