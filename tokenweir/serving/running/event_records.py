"""The stream mode ``events``: adds the events of ``astream_events`` to a run's stream.

LangGraph's server has this mode; graphs do not. It is slow, as LangChain calls a handler for each
event.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig

__all__ = ["WithEvents"]


class WithEvents:
    """A graph with one more stream mode, ``events``.

    Args:
        graph: The graph.
        run_id: The run's id, used for the graph's own events.
    """

    def __init__(self, graph: Any, run_id: str) -> None:
        self._graph = graph
        self._run_id = UUID(run_id)

    async def astream(
        self,
        given: Any,
        config: RunnableConfig,
        *,
        stream_mode: list[str],
        subgraphs: bool = False,
        **more: Any,
    ) -> AsyncIterator[Any]:
        """Like ``graph.astream``, plus ``("events", event)`` for events other than its parts."""
        others = [mode for mode in stream_mode if mode != "events"]
        told = self._graph.astream_events(
            given,
            {**config, "run_id": self._run_id},
            version="v2",
            stream_mode=others,
            subgraphs=subgraphs,
            **more,
        )
        async with aclosing(told) as events:
            async for event in events:
                if event["event"] == "on_chain_stream" and not event["parent_ids"]:
                    yield event["data"]["chunk"]
                else:
                    yield ((), "events", event) if subgraphs else ("events", event)
