"""Keeps the messages of a stopped run, as its record shows them, in the state of its thread."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import RunnableConfig

from tokenweir.serving.log.events import EventLog
from tokenweir.serving.running.records import Run
from tokenweir.streaming._langgraph.keeping import cannot_keep, keep
from tokenweir.streaming.shown import Shown

__all__ = ["keep_shown"]

_CLASSES: dict[str, type[BaseMessage]] = {
    "AIMessageChunk": AIMessageChunk,
    "ai": AIMessage,
    "human": HumanMessage,
    "remove": RemoveMessage,
    "system": SystemMessage,
    "tool": ToolMessage,
}


async def keep_shown(run: Run, graph: Any, log: EventLog) -> None:
    """Add the messages in a stopped run's record to the state of its thread."""
    metadata: dict[str, Any] = {"run_id": run.id, "graph_id": run.request.graph}
    metadata["assistant_id"] = run.assistant_id
    if run.attempt > 1:
        metadata["run_attempt"] = run.attempt
    config: RunnableConfig = {"configurable": {"thread_id": run.thread_id}, "metadata": metadata}
    if cannot_keep(graph, config) is None:
        await keep(graph, config, await _shown(run.id, log))


async def _shown(run_id: str, log: EventLog) -> Shown:
    shown = Shown()
    if not (last := await log.last_id(run_id)):
        return shown
    reader = log.follow(run_id)
    try:
        async for events in reader:
            for event in events:
                if event.mode == "messages":
                    message, metadata = event.value
                    made = _CLASSES.get(message["type"], BaseMessage).model_validate(message)
                    shown.take(made, metadata)
            if events[-1].id >= last:
                break
    finally:
        await reader.aclose()
    return shown
