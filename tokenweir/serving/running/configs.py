"""The config that a graph runs with, made of the client's and the assistant's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenweir.serving.problems import InvalidError
from tokenweir.serving.running.encoding import encode
from tokenweir.serving.running.records import Assistant, Run, RunRequest

__all__ = ["MOST_METADATA", "User", "carried", "check_size", "config_of", "fork_of"]

MOST_METADATA = 64 << 10
"""The size limit in bytes, as JSON, of what clients may add to each token or to a thread."""

_KEYS = ("tags", "metadata", "recursion_limit", "max_concurrency", "run_name")
_OURS = ("__", "langgraph_auth_")


class User(dict[str, Any]):
    """The owner of a run, as nodes read it: ``runtime.server_info.user.identity``, or by key."""

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
    """Raise InvalidError if these fields, by name, have more than ``MOST_METADATA`` bytes."""
    sizes = {name: len(encode(value)) for name, value in fields.items() if value}
    if sum(sizes.values()) > MOST_METADATA:
        largest = max(sizes, key=sizes.__getitem__)
        raise InvalidError(
            f"{largest} has {sizes[largest]} bytes as JSON; {' and '.join(sizes)} may have "
            f"{MOST_METADATA}"
        )


def carried(request: RunRequest, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that become part of each token's metadata."""
    config = {f"config.{key}": request.config.get(key) for key in (*_KEYS, "configurable")}
    return {"metadata": metadata, **config, "checkpoint_id": request.checkpoint_id}


def fork_of(config: Mapping[str, Any] | None) -> str | None:
    """The checkpoint that a client's config names as the one to start from. Raises InvalidError."""
    found = ((config or {}).get("configurable") or {}).get("checkpoint_id")
    if found is None or isinstance(found, str):
        return found
    raise InvalidError("config.configurable.checkpoint_id must be a string")


def config_of(run: Run, assistant: Assistant) -> dict[str, Any]:
    """The config of a graph: the assistant's, overridden by the request's, with the ids added."""
    config: dict[str, Any] = {}
    configurable: dict[str, Any] = {}
    sources: tuple[Mapping[str, Any], ...] = (assistant.config, run.request.config)
    for source in sources:
        config |= {key: source[key] for key in _KEYS if source.get(key) is not None}
        configurable |= source.get("configurable") or {}
    # LangGraph uses names with two underscores internally; clients may not set them.
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
    if run.attempt > 1:  # tells the checkpoints of attempts apart: see resuming.py
        config["metadata"]["run_attempt"] = run.attempt
    return {**config, "configurable": configurable}
