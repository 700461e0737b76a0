"""The state of a thread in the form of LangGraph's API. No I/O."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenweir.serving.langgraph.schema.common import CheckpointConfig
from tokenweir.serving.langgraph.schema.threads import Checkpoint, Interrupt, State, Task
from tokenweir.serving.running.records import Thread

__all__ = ["checkpoint_of", "config_of", "no_state", "selected", "shown_state"]


def shown_state(snapshot: Any, thread: Thread) -> State:
    """A ``StateSnapshot`` in the API's form."""
    checkpoint = checkpoint_of(snapshot.config, thread)
    parent = checkpoint_of(snapshot.parent_config, thread)
    return State(
        values=snapshot.values,
        next=list(snapshot.next),
        tasks=[_task(task, thread) for task in snapshot.tasks],
        metadata=snapshot.metadata,
        created_at=snapshot.created_at,
        checkpoint=checkpoint,
        parent_checkpoint=parent,
        interrupts=[_interrupt(each) for each in snapshot.interrupts],
        checkpoint_id=checkpoint.checkpoint_id if checkpoint else None,
        parent_checkpoint_id=parent.checkpoint_id if parent else None,
    )


def _task(task: Any, thread: Thread) -> Task:
    state, checkpoint = None, None
    if isinstance(task.state, dict):
        checkpoint = checkpoint_of(task.state, thread)
    elif task.state is not None:
        state = shown_state(task.state, thread)
        checkpoint = state.checkpoint
    return Task(
        id=task.id,
        name=task.name,
        path=list(task.path),
        error=None if task.error is None else str(task.error),
        interrupts=[_interrupt(each) for each in task.interrupts],
        checkpoint=checkpoint,
        state=state,
        result=task.result,
    )


def _interrupt(each: Any) -> Interrupt:
    return Interrupt(id=each.id, value=each.value)


def checkpoint_of(config: Any, thread: Thread) -> Checkpoint | None:
    """The checkpoint in a config, in the form that clients send back."""
    configurable = (config or {}).get("configurable")
    if not configurable:
        return None
    return Checkpoint(
        thread_id=thread.id,
        checkpoint_ns=configurable.get("checkpoint_ns", ""),
        checkpoint_id=configurable.get("checkpoint_id"),
    )


def config_of(thread: Thread, checkpoint: CheckpointConfig | None = None) -> Any:
    """The config of a checkpoint in a thread; of the newest one if none is named."""
    configurable: dict[str, Any] = {"thread_id": thread.id}
    if checkpoint is not None and checkpoint.checkpoint_ns:
        configurable["checkpoint_ns"] = checkpoint.checkpoint_ns
    if checkpoint is not None and checkpoint.checkpoint_id:
        configurable["checkpoint_id"] = checkpoint.checkpoint_id
        configurable.setdefault("checkpoint_ns", "")  # LangGraph requires it
    return {"configurable": configurable}


def no_state(checkpoint: Checkpoint | None = None, metadata: dict[str, Any] | None = None) -> State:
    """The state of a thread without runs."""
    return State(
        values={},
        next=[],
        tasks=[],
        metadata=metadata,
        created_at=None,
        checkpoint=checkpoint,
        parent_checkpoint=None,
        interrupts=[],
        checkpoint_id=None,
        parent_checkpoint_id=None,
    )


def selected(state: State, names: list[str] | None) -> State | dict[str, Any]:
    """The requested fields of a state, such as ``next`` or ``values.topic``; all by default."""
    if not names:
        return state
    there = msgspec.structs.asdict(state)
    found: dict[str, Any] = {}
    for name in names:
        first, _, key = name.partition(".")
        value = there.get(first)
        if isinstance(value, msgspec.Struct):
            value = msgspec.structs.asdict(value)
        if not key and first in there:
            found[first] = value
        elif isinstance(value, dict) and key in value:
            found.setdefault(first, {})[key] = value[key]
    return found
