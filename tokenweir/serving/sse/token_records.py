"""A run's events as the records that ``tokenweir run --json`` writes, with the same keys. No I/O.

A token's record has one key more: ``task``, which tells apart what one node writes several times.

Events hold messages as plain data; the command line has them as objects. Both protocols for simple
clients (plain SSE and OpenAI's) are made of these records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenweir.serving.log.events import Event
from tokenweir.streaming.content import reasoning_of, tags_of, text_of
from tokenweir.streaming.filters import Filter

__all__ = ["Accepts", "Record", "accepts", "record_of", "token_of"]

Record = dict[str, Any]

_NODE_STATES = {"input": "started", "error": "failed", "interrupts": "waiting"}


def record_of(event: Event, only: Callable[[Any, Any], bool] | None = None) -> Record | None:
    """The record of one event, or None for what simple clients are not told.

    Args:
        event: An event of a run.
        only: What ``accepts`` made of a filter; tokens that it refuses are left out.

    Returns:
        Records of the types ``token``, ``message``, ``remove``, ``custom`` and ``node``.
    """
    mode = event.mode
    if mode == "messages":
        message, metadata = event.value
        return _token(message, metadata, event.namespace, only)
    if mode == "custom":
        value = event.value
        if isinstance(value, list) and len(value) == 2 and isinstance(value[1], Mapping):
            message, metadata = value
            return _token(message, metadata, event.namespace, only)
        return {"type": "custom", "namespace": list(event.namespace), "data": value}
    if mode == "tasks":
        return _node(event.value, event.namespace)
    return None


class Accepts:
    """A filter for messages as plain data: called with a message and its metadata.

    Attributes:
        per_chunk: Whether it looks at the chunks, and not at their metadata alone.
    """

    def __init__(self, only: Filter) -> None:
        self._only = only
        self.per_chunk = only.looks_at_chunks

    def __call__(self, message: Any, metadata: Any) -> bool:
        if not self.per_chunk:
            return self._only(metadata)
        if isinstance(message, Mapping):
            extra = message.get("additional_kwargs") or {}
            message = {"reasoning_content": extra.get("reasoning_content"), **message}
        return self._only(metadata, message)


def accepts(only: Filter | None) -> Accepts | None:
    """A filter for messages as plain data, or None for none."""
    return None if only is None else Accepts(only)


def token_of(
    message: Any, metadata: Mapping[str, Any], namespace: Sequence[str] = ()
) -> Record | None:
    """A token's record, or None for a chunk that carries nothing.

    Args:
        message: A message as plain data, with its ``type``; or what a node wrote in custom mode:
            a dict with ``content``, or a string.
        metadata: The metadata of its call.
        namespace: The path of the subgraph that it comes from.
    """
    fields: Mapping[str, Any] = message if isinstance(message, dict) else {}
    reasoning = ""
    calls: list[Record] = []
    if _is_plain_text(fields):
        text = fields["content"]
    else:
        text, reasoning = text_of(message), reasoning_of(message)
        calls = _tool_calls(fields)
    carried = {
        "reasoning": reasoning,
        "tool_calls": calls,
        "usage": fields.get("usage_metadata"),
        "finish_reason": (fields.get("response_metadata") or {}).get("finish_reason"),
    }
    if not text and not any(carried.values()):
        return None
    kind = fields.get("type")
    whole = isinstance(kind, str) and not kind.endswith("MessageChunk")
    record: Record = {
        "type": "message" if whole else "token",
        "text": text,
        "id": fields.get("id"),
        "node": metadata.get("langgraph_node"),
        "tags": tags_of(metadata),
        "namespace": list(namespace),
        "model": metadata.get("ls_model_name"),
        "task": _task_of(metadata),
    }
    if whole:
        record["role"] = kind
        carried["name"] = fields.get("name")
        carried["tool_call_id"] = fields.get("tool_call_id")
    return record | {key: value for key, value in carried.items() if value}


def _token(
    message: Any,
    metadata: Mapping[str, Any],
    namespace: Sequence[str],
    only: Callable[[Any, Any], bool] | None,
) -> Record | None:
    if isinstance(message, dict) and message.get("type") == "remove":
        # Not for the filter: nobody knows any more which call the void message came from.
        return {"type": "remove", "id": message.get("id")}
    if only is not None and not only(message, metadata):
        return None
    return token_of(message, metadata, namespace)


def _is_plain_text(message: Mapping[str, Any]) -> bool:
    """Whether a message is a chunk of text and nothing more, as most are; the short way for it."""
    return (
        message.get("type") == "AIMessageChunk"
        and type(message.get("content")) is str
        and not message.get("additional_kwargs")
        and not message.get("tool_call_chunks")
        and not message.get("tool_calls")
    )


def _task_of(metadata: Mapping[str, Any]) -> str | None:
    """The task that runs the node, as in the records of nodes: a node may run several at once."""
    namespace = str(metadata.get("langgraph_checkpoint_ns") or "")
    return namespace.rpartition("|")[2].partition(":")[2] or None


def _tool_calls(message: Mapping[str, Any]) -> list[Record]:
    """The tool calls in a message: of a streamed one, the parts that came with it."""
    if "type" not in message:
        return list(message.get("tool_calls") or ())
    parts = message.get("tool_call_chunks") or message.get("tool_calls") or ()
    return [{key: part.get(key) for key in ("index", "id", "name", "args")} for part in parts]


def _node(task: Mapping[str, Any], namespace: Sequence[str]) -> Record:
    """A node began, or came to its end; as LangGraph's ``tasks`` mode tells it."""
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
