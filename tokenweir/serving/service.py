"""What every protocol works with: the runs, the limits, and whose a request is."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from tokenweir.serving.http.guard import owner_of
from tokenweir.serving.problems import Limits
from tokenweir.serving.running.runs import Runs

__all__ = ["Service"]


@dataclass(frozen=True)
class Service:
    """What a protocol works with.

    Attributes:
        runs: Starts, follows, cancels runs; knows the graphs (``runs.graphs``).
        limits: What the server takes on.
        keyed: Whether requests must carry an API key.
    """

    runs: Runs
    limits: Limits
    keyed: bool = False

    def owner(self, request: Request) -> str:
        """Whose request it is; "" where there are no API keys. Give it to every call of runs."""
        return owner_of(request.scope)
