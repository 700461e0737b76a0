"""What all protocols share: the runs, the limits, and the owner of a request."""

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
    """What all protocols share.

    Attributes:
        limits: The limits of the server.
        keyed: Whether requests must carry an API key.
        started: The runs during the application's lifespan; None before and after.
    """

    limits: Limits
    keyed: bool = False
    started: Runs | None = None
    _keys: dict[str, list[Key] | None] = field(default_factory=dict, init=False, repr=False)

    @property
    def runs(self) -> Runs:
        """The runs and the graphs. Raises TooBusyError if the server has not started."""
        if self.started is None:
            raise TooBusyError(
                "the server has not started: an application that mounts this one must run its "
                "lifespan, app.router.lifespan_context"
            )
        return self.started

    def owner(self, request: Request) -> str:
        """The owner of a request; "" without API keys. Pass it to every call of runs."""
        return owner_of(request.scope)

    def graph_of(self, request: Request) -> str:
        """The graph in a request's path. Raises NotFoundError if there is none."""
        name: str = request.path_params["name"]
        if name not in self.runs.graphs:
            there = ", ".join(self.runs.graphs)
            raise NotFoundError(f"there is no graph {name!r}; here: {there}")
        return name

    async def input_keys(self, graph: str) -> list[Key] | None:
        """The keys of a graph's input, from ``keys_of``; cached."""
        if graph not in self._keys:
            return await asyncio.to_thread(self.find_input_keys, graph)
        return self._keys[graph]

    def find_input_keys(self, graph: str) -> list[Key] | None:
        """The same as ``input_keys``, blocking."""
        if graph not in self._keys:
            self._keys[graph] = keys_of(self.runs.graphs[graph])
        return self._keys[graph]
