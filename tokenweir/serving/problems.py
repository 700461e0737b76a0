"""What can be wrong with a request, and the limits that it may run into."""

from __future__ import annotations

from dataclasses import dataclass

from tokenweir.errors import TokenweirError

__all__ = [
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
    """Raised for an API key without a character: it would be the key of all who send none."""


class GraphNameError(TokenweirError):
    """Raised for a name of a graph that cannot stand in a URL, or in OpenAI's GRAPH:TAG."""


class ServingError(TokenweirError):
    """Root of what a client is told instead of an answer; the message is fit for clients."""

    status = 500
    code: str | None = None
    """A word for programs, where a protocol has a place for it."""
    param: str | None = None
    """The field of the request that is wrong, likewise."""


class InvalidError(ServingError):
    """Raised for a request that cannot be understood."""

    status = 422


class NotFoundError(ServingError):
    """Raised for what is not there, or is another owner's."""

    status = 404


class ModelNotFoundError(NotFoundError):
    """Raised for a model that is no graph here."""

    code = "model_not_found"
    param = "model"


class ConflictError(ServingError):
    """Raised for a thread that exists already, or is busy."""

    status = 409


class TooBigError(ServingError):
    """Raised for a body beyond the limit."""

    status = 413
    code = "request_too_large"


class TooManyError(ServingError):
    """Raised for more than one owner may have at a time."""

    status = 429
    code = "rate_limit_exceeded"


class TooBusyError(ServingError):
    """Raised when no more runs may wait, or the server is stopping. Come back later."""

    status = 503
    code = "server_overloaded"


class StoreError(ServingError):
    """Raised when what is asked for cannot be kept: the disk is full, say."""

    status = 503
    code = "server_overloaded"

    def __init__(self) -> None:
        super().__init__("the server cannot write to its disk just now; try again later")


class LostError(TokenweirError):
    """Raised at a worker whose run is another worker's now: what it still does is refused."""


class CutOffError(ServingError):
    """Raised at who reads a run, or waits for it, when the server stops before the run is over.

    The next start goes on with it. A stream is cut then, and not closed as one that has ended.
    """

    status = 503
    code = "server_overloaded"


class ForbiddenError(ServingError):
    """Raised for requests from a page that is not allowed to make them."""

    status = 403


class UnauthorizedError(ServingError):
    """Raised for a missing or wrong API key."""

    status = 401
    code = "invalid_api_key"


@dataclass(frozen=True)
class Limits:
    """How much a server takes on.

    Attributes:
        body: Bytes of a request's body.
        runs: Runs that run at once; more wait.
        queue: Runs of one owner that may wait for their turn; more are refused.
        delayed: Runs of one owner that may wait for their time, ``after_seconds``.
        run_seconds: How long a run may run.
        drain_seconds: How long runs may go on when the server is told to stop; what runs longer
            is resumed from its last checkpoint at the next start.
        slow_seconds: How long a reader may not read before its connection is dropped, and how
            long the head of a request, or the next part of its body, may take.
        heartbeat_seconds: Between comments on a silent stream.
        assistants: Assistants that the clients of one key may make; nothing sweeps them.
        threads: Threads that the clients of one key may have.
        keep_runs: How many finished runs are kept; the oldest go first.
        keep_seconds: How long finished runs and their events are kept.
        keep_bytes: How many bytes of events, and of checkpoints in a folder, are kept; the oldest
            finished runs go first, and a thread with the last of its runs.
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
