"""The config that a graph runs with: what it is given of a client's, and of its assistant's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenweir.serving.problems import InvalidError
from tokenweir.serving.running.encoding import encode
from tokenweir.serving.running.records import Assistant, Run, RunRequest

__all__ = ["MOST_METADATA", "User", "carried", "check_size", "config_of"]

MOST_METADATA = 64 << 10
"""Bytes as JSON of what a client may have carried by every token, or kept with a thread."""

_KEYS = ("tags", "metadata", "recursion_limit", "max_concurrency", "run_name")
_OURS = ("__", "langgraph_auth_")


class User(dict[str, Any]):
    """Whose run it is, as nodes read it: ``runtime.server_info.user.identity``, or by key."""

    def __init__(self, identity: str) -> None:
        super().__init__(
            identity=identity, display_name=identity, is_authenticated=True, permissions=[]
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def check_size(fields: Mapping[str, Any]) -> None:
    """Raise InvalidError for more than ``MOST_METADATA`` bytes in fields, given by their names."""
    sizes = {name: len(encode(value)) for name, value in fields.items() if value}
    if sum(sizes.values()) > MOST_METADATA:
        largest = max(sizes, key=sizes.__getitem__)
        raise InvalidError(
            f"{largest} has {sizes[largest]} bytes as JSON; {' and '.join(sizes)} may have "
            f"{MOST_METADATA}"
        )


def carried(request: RunRequest, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request for a run that go into the metadata of each of its tokens."""
    config = {f"config.{key}": request.config.get(key) for key in (*_KEYS, "configurable")}
    return {"metadata": metadata, **config, "checkpoint_id": request.checkpoint_id}


def config_of(run: Run, assistant: Assistant) -> dict[str, Any]:
    """The config with which a graph runs: the assistant's, the request's over it, and the ids."""
    config: dict[str, Any] = {}
    configurable: dict[str, Any] = {}
    sources: tuple[Mapping[str, Any], ...] = (assistant.config, run.request.config)
    for source in sources:
        config |= {key: source[key] for key in _KEYS if source.get(key) is not None}
        configurable |= source.get("configurable") or {}
    # Names with two underscores are LangGraph's own machinery, no client's.
    configurable = {
        key: value
        for key, value in configurable.items()
        if not key.startswith(_OURS) and key not in ("checkpoint_ns", "checkpoint_id")
    }
    configurable |= {
        "thread_id": run.thread_id,
        "graph_id": run.request.graph,
        "assistant_id": run.assistant_id,
        "langgraph_auth_user": User(identity=run.owner) if run.owner else None,
        "langgraph_auth_user_id": run.owner,
        "langgraph_auth_permissions": [],
    }
    config["metadata"] = {
        **assistant.metadata,
        **run.metadata,
        **(config.get("metadata") or {}),
        "run_id": run.id,
        "graph_id": run.request.graph,
        "assistant_id": run.assistant_id,
    }
    if run.attempt > 1:  # which attempt a checkpoint is of: see resuming.py
        config["metadata"]["run_attempt"] = run.attempt
    return {**config, "configurable": configurable}
