"""What every protocol works with: the runs, the limits, and whose a request is."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from tokenweir.serving.http.guard import owner_of
from tokenweir.serving.problems import Limits, TooBusyError
from tokenweir.serving.running.runs import Runs

__all__ = ["Service"]


@dataclass
class Service:
    """What a protocol works with.

    Attributes:
        limits: What the server takes on.
        keyed: Whether requests must carry an API key.
        started: The runs while the application's lifespan lasts; None before and after.
    """

    limits: Limits
    keyed: bool = False
    started: Runs | None = None

    @property
    def runs(self) -> Runs:
        """Starts, follows, cancels runs; knows the graphs. Raises TooBusyError if not started."""
        if self.started is None:
            raise TooBusyError(
                "the server has not started: an application that mounts this one must run its "
                "lifespan, app.router.lifespan_context"
            )
        return self.started

    def owner(self, request: Request) -> str:
        """Whose request it is; "" where there are no API keys. Give it to every call of runs."""
        return owner_of(request.scope)
