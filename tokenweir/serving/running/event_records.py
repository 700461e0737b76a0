"""The stream mode ``events``: what ``astream_events`` tells of a run, beside what it streams.

LangGraph's server has this mode; no graph has. It is the slow way: LangChain tells each event to a
handler of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig

__all__ = ["WithEvents"]


class WithEvents:
    """A graph that streams its events among its parts, as one more stream mode.

    Args:
        graph: The graph.
        run_id: The run, under whose id the graph's own events are told.
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
        """As ``graph.astream``, with ``("events", event)`` for each event but the graph's parts."""
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
