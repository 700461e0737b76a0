"""Puts what a reader was shown into the state of a stopped run.

This uses public names of LangGraph, and two of its values:

- ``update_state(config, None, as_node="__end__")`` writes the results of finished tasks, and clears
  the others. It runs none of the user's nodes and edges.
- Writes to a checkpoint under ``NULL_TASK_ID`` belong to no task, like those of a ``Command``. The
  next ``update_state`` of that kind puts them into the state, through the reducer.

So a stop takes two updates. After the first, the state shows what is missing; the second adds it
and clears the tasks that the first has scheduled. The thread's next turn then begins at the start.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from operator import is_
from typing import Any

from langchain_core.runnables.config import RunnableConfig, ensure_config, merge_configs
from langgraph.channels import BinaryOperatorAggregate, DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END
from langgraph.pregel import Pregel
from langgraph.types import Overwrite

from tokenweir.streaming._langgraph.run_config import in_namespace
from tokenweir.streaming.shown import Shown, in_order

__all__ = ["cannot_keep", "keep", "to_its_end"]

NULL_TASK_ID = "00000000-0000-0000-0000-000000000000"
"""The value of the constant in langgraph._internal._constants."""

_MESSAGES = "messages"


def cannot_keep(graph: Any, config: RunnableConfig | None) -> str | None:
    """Why a stopped run of this graph cannot keep what was shown; None if it can."""
    if not isinstance(graph, Pregel):
        return "the graph does not run in this process"
    if in_namespace(config):
        return "the graph runs in a node of another graph: use on_stop where that one is streamed"
    if not isinstance(graph.checkpointer, BaseCheckpointSaver):
        return "the graph has no checkpointer: compile it with one"
    if not isinstance(graph.channels.get(_MESSAGES), (BinaryOperatorAggregate, DeltaChannel)):
        return "its state has no key `messages` with a reducer, as MessagesState has"
    return None


async def keep(
    graph: Any, config: RunnableConfig | None, shown: Shown, *, blocking: bool = False
) -> None:
    """Add what was shown of a run that has just been stopped to its state.

    Args:
        graph: The run's graph, for which ``cannot_keep`` returns None.
        config: The run's config.
        shown: The messages that its reader was given.
        blocking: Call the graph's sync methods, and never await.
    """
    asynchronous = "" if blocking else "a"

    async def call(of: Any, method: str, *args: Any) -> Any:
        found = getattr(of, asynchronous + method)(*args)
        return await found if inspect.isawaitable(found) else found

    here = _newest(graph, config)
    before = await call(graph, "get_state", here)
    while before.parent_config and _is_kept(before, here):  # by a process that was killed then
        before = await call(graph, "get_state", before.parent_config)
    # LangGraph considers a task with an error and some writes done. Its error may be the stop.
    cut = [task for task in before.tasks if task.result is None or task.error is not None]
    await call(graph, "update_state", here, None, END)
    after = await call(graph, "get_state", here)
    messages = after.values.get(_MESSAGES, [])
    left = shown.left(
        {message.id for message in messages}, {f"{task.name}:{task.id}" for task in cut}
    )
    ordered = in_order(messages, left)
    if more := len(ordered) > len(messages):
        # A reducer appends messages. If one belongs in between, all messages are written again.
        behind = all(map(is_, messages, ordered))
        added = ordered[len(messages) :] if behind else Overwrite(ordered)
        writes = [(_MESSAGES, added)]
        await call(graph.checkpointer, "put_writes", after.config, writes, NULL_TASK_ID)
    if more or after.next:
        await call(graph, "update_state", here, None, END)


def _is_kept(snapshot: Any, config: RunnableConfig) -> bool:
    """Whether ``keep`` wrote a checkpoint, for the run of this config."""
    run, about = config.get("metadata", {}).get("run_id"), snapshot.metadata or {}
    return run is not None and about.get("source") == "update" and about.get("run_id") == run


def _newest(graph: Any, config: RunnableConfig | None) -> RunnableConfig:
    """The config of the newest checkpoint of the run's thread."""
    merged = merge_configs(graph.config, ensure_config(config))
    configurable = {**merged.get("configurable", {})}
    configurable.pop("checkpoint_id", None)  # the one from which the run began
    return {"configurable": configurable, "metadata": merged.get("metadata", {})}


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work that must not be cancelled together with the waiting task."""
    task = asyncio.get_running_loop().create_task(work)
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue  # the caller is being cancelled already, and continues with that afterwards
    task.result()
