"""Turns a run's events into the records of ``tokenweir run --json``, with the same keys. No I/O.

A token's record has one more key, ``task``, which tells apart several messages of one node. Events
have messages as plain data, the command line has them as objects. Both protocols for simple
clients (plain SSE and OpenAI's) use these records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenweir.serving.log.events import Event
from tokenweir.streaming.content import token_record

__all__ = ["Record", "record_of"]

Record = dict[str, Any]

_NODE_STATES = {"input": "started", "error": "failed", "interrupts": "waiting"}


def record_of(event: Event, only: Callable[[Any, Any], bool] | None = None) -> Record | None:
    """The record of one event; None if simple clients do not get it.

    Args:
        event: An event of a run.
        only: Called with the metadata and message of a token; returns whether it passes.

    Returns:
        Records of the types ``token``, ``message``, ``remove``, ``custom`` and ``node``.
    """
    mode = event.mode
    if (token := event.token) is not None:
        return _token(*token, event.namespace, only)
    if mode == "custom":
        return {"type": "custom", "namespace": list(event.namespace), "data": event.value}
    if mode == "tasks":
        return _node(event.value, event.namespace)
    return None


def _token(
    message: Any,
    metadata: Mapping[str, Any],
    namespace: Sequence[str],
    only: Callable[[Any, Any], bool] | None,
) -> Record | None:
    # A retraction does not say which call the message came from, so the filter cannot judge it.
    void = isinstance(message, dict) and message.get("type") == "remove"
    if not void and only is not None and not only(metadata, message):
        return None
    record = token_record(message, metadata, namespace)
    if record is not None and not void:
        # The task tells apart parallel runs of a node, as in the records of nodes.
        place = str(metadata.get("langgraph_checkpoint_ns") or "").rpartition("|")[2]
        record["task"] = place.partition(":")[2] or None
    return record


def _node(task: Mapping[str, Any], namespace: Sequence[str]) -> Record:
    """The record of a node's start or end, from LangGraph's ``tasks`` mode."""
    state = next((said for key, said in _NODE_STATES.items() if task.get(key)), "finished")
    if "input" in task or "triggers" in task:
        state = "started"
    return {
        "type": "node",
        "node": task.get("name"),
        "namespace": list(namespace),
        "task": task.get("id"),
        "state": state,
    }
