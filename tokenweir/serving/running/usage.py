"""Counts the model calls of served runs and their tokens, by graph, node, agent, model and tag."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from tokenweir.streaming.content import tags_of

__all__ = ["Caller", "Counts", "Usage", "UsageHandler"]

_MOST = 1000
"""The most callers, and tags, counted separately: programs may generate very many names."""

_OTHER = "other"


class Caller(NamedTuple):
    """The source of a model call; "" for what is unknown."""

    graph: str
    node: str
    agent: str
    model: str


@dataclass
class Counts:
    """Calls, failed calls, and tokens as the providers counted them."""

    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Usage:
    """The counts of one server since it started.

    Attributes:
        callers: By caller. After ``_MOST`` callers, others are counted together as ``other``.
        tags: By tag, in the same way; a call with several tags counts for each.
    """

    def __init__(self) -> None:
        self.callers: dict[Caller, Counts] = {}
        self.tags: dict[str, Counts] = {}
        self._lock = threading.Lock()

    def handler(self, config: Mapping[str, Any]) -> UsageHandler:
        """The handler that counts the calls of one run.

        Tags and metadata from the run's config are left out, as clients may put anything there.
        """
        return UsageHandler(self, frozenset(config.get("tags") or ()), config["metadata"])

    def count(self, caller: Caller, tags: list[str], counts: Counts) -> None:
        """Add one call. Thread-safe."""
        with self._lock:
            _add(self.callers, caller, Caller(_OTHER, _OTHER, _OTHER, _OTHER), counts)
            for tag in tags:
                _add(self.tags, tag, _OTHER, counts)


def _add(where: dict[Any, Counts], key: Any, other: Any, counts: Counts) -> None:
    if key not in where and len(where) >= _MOST:
        key = other
    total = where.setdefault(key, Counts())
    total.calls += counts.calls
    total.failed += counts.failed
    total.input_tokens += counts.input_tokens
    total.output_tokens += counts.output_tokens


class UsageHandler(BaseCallbackHandler):
    """Counts the model calls of one run, without looking at tokens."""

    run_inline = True
    ignore_agent = True
    ignore_chain = True
    ignore_retriever = True
    ignore_custom_event = True

    def __init__(self, usage: Usage, tags: frozenset[str], metadata: Mapping[str, Any]) -> None:
        self._usage = usage
        self._tags = tags
        self._metadata = metadata
        self._calls: dict[UUID, tuple[Caller, list[str]]] = {}

    def on_chat_model_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> None:
        metadata = kwargs.get("metadata") or {}

        def named(key: str) -> str:
            return "" if key in self._metadata else str(metadata.get(key) or "")

        graph = str(self._metadata["graph_id"])
        names = map(named, ("langgraph_node", "lc_agent_name", "ls_model_name"))
        own = [tag for tag in dict.fromkeys(tags_of(kwargs)) if tag not in self._tags]
        self._calls[run_id] = (Caller(graph, *names), own)

    on_llm_start = on_chat_model_start

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        counts = Counts(1)
        for made in response.generations[0] if response.generations else ():
            usage = getattr(getattr(made, "message", None), "usage_metadata", None) or {}
            counts.input_tokens += usage.get("input_tokens", 0)
            counts.output_tokens += usage.get("output_tokens", 0)
        self._count(run_id, counts)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._count(run_id, Counts(1, 1))

    def _count(self, run_id: UUID, counts: Counts) -> None:
        if (call := self._calls.pop(run_id, None)) is not None:
            self._usage.count(*call, counts)
