"""What every protocol works with: the runs, the limits, and whose a request is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from starlette.requests import Request

from tokenweir.serving.graph_inputs import Key, keys_of
from tokenweir.serving.http.guard import owner_of
from tokenweir.serving.problems import Limits, NotFoundError, TooBusyError
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
    _keys: dict[str, list[Key] | None] = field(default_factory=dict, init=False, repr=False)

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

    def graph_of(self, request: Request) -> str:
        """The graph that is named in a request's path. Raises NotFoundError if it is not here."""
        name: str = request.path_params["name"]
        if name not in self.runs.graphs:
            there = ", ".join(self.runs.graphs)
            raise NotFoundError(f"there is no graph {name!r}; here: {there}")
        return name

    async def input_keys(self, graph: str) -> list[Key] | None:
        """The keys of a graph's input, as ``keys_of`` finds them; found once."""
        if graph not in self._keys:
            return await asyncio.to_thread(self.find_input_keys, graph)
        return self._keys[graph]

    def find_input_keys(self, graph: str) -> list[Key] | None:
        """As ``input_keys``, in a thread that may wait."""
        if graph not in self._keys:
            self._keys[graph] = keys_of(self.runs.graphs[graph])
        return self._keys[graph]
