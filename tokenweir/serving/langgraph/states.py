"""The state of a thread as clients of LangGraph's API read it. No I/O."""

from __future__ import annotations

from typing import Any

from tokenweir.serving.http.bodies import field
from tokenweir.serving.problems import InvalidError
from tokenweir.serving.running.records import Thread

__all__ = ["checkpoint_of", "config_of", "names_of", "no_state", "selected", "shown_state"]


def shown_state(snapshot: Any, thread: Thread) -> dict[str, Any]:
    """A ``StateSnapshot`` as clients read it."""
    checkpoint = checkpoint_of(snapshot.config, thread)
    parent = checkpoint_of(snapshot.parent_config, thread)
    return {
        "values": snapshot.values,
        "next": list(snapshot.next),
        "tasks": [_task(task, thread) for task in snapshot.tasks],
        "metadata": snapshot.metadata,
        "created_at": snapshot.created_at,
        "checkpoint": checkpoint,
        "parent_checkpoint": parent,
        "interrupts": [_interrupt(each) for each in snapshot.interrupts],
        "checkpoint_id": (checkpoint or {}).get("checkpoint_id"),
        "parent_checkpoint_id": (parent or {}).get("checkpoint_id"),
    }


def _task(task: Any, thread: Thread) -> dict[str, Any]:
    state, checkpoint = None, None
    if isinstance(task.state, dict):
        checkpoint = checkpoint_of(task.state, thread)
    elif task.state is not None:
        state = shown_state(task.state, thread)
        checkpoint = state["checkpoint"]
    error = task.error
    return {
        "id": task.id,
        "name": task.name,
        "path": list(task.path),
        "error": None if error is None else str(error),
        "interrupts": [_interrupt(each) for each in task.interrupts],
        "checkpoint": checkpoint,
        "state": state,
        "result": task.result,
    }


def _interrupt(each: Any) -> dict[str, Any]:
    return {"id": each.id, "value": each.value}


def checkpoint_of(config: Any, thread: Thread) -> dict[str, Any] | None:
    """The place that a config names, as clients give it back."""
    configurable = (config or {}).get("configurable")
    if not configurable:
        return None
    return {
        "thread_id": thread.id,
        "checkpoint_ns": configurable.get("checkpoint_ns", ""),
        "checkpoint_id": configurable.get("checkpoint_id"),
    }


def config_of(thread: Thread, place: dict[str, Any]) -> Any:
    """The config of a place in a thread; of what a client says, only where it is."""
    configurable: dict[str, Any] = {"thread_id": thread.id}
    for name in ("checkpoint_ns", "checkpoint_id"):
        value = place.get(name)
        if value is not None and not isinstance(value, str):
            raise InvalidError(f"{name} must be a string")
        if value:
            configurable[name] = value
    if "checkpoint_id" in configurable:
        configurable.setdefault("checkpoint_ns", "")  # LangGraph does not do without
    return {"configurable": configurable}


def no_state(checkpoint: dict[str, Any] | None) -> dict[str, Any]:
    """The state of a thread on which nothing ran."""
    return {
        "values": {},
        "next": [],
        "tasks": [],
        "metadata": None,
        "created_at": None,
        "checkpoint": checkpoint,
        "parent_checkpoint": None,
        "interrupts": [],
        "checkpoint_id": None,
        "parent_checkpoint_id": None,
    }


def names_of(body: dict[str, Any]) -> list[str]:
    """The fields that a request selects; none for all. Raises InvalidError."""
    names = field(body, "select", list) or []
    if not all(isinstance(name, str) for name in names):
        raise InvalidError("select is a list of keys")
    return names


def selected(state: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Of a state the fields that were asked for: ``next``, or ``values.topic``; all if none."""
    if not names:
        return state
    found: dict[str, Any] = {}
    for name in names:
        first, _, key = name.partition(".")
        if not key and first in state:
            found[first] = state[first]
        elif isinstance(state.get(first), dict) and key in state[first]:
            found.setdefault(first, {})[key] = state[first][key]
    return found
