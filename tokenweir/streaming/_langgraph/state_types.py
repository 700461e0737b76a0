"""The classes that a graph's state may hold, so that a checkpointer deserializes only these.

Private name used: ``langgraph._internal._serde.build_serde_allowlist(schemas=, channels=)``, which
collects the classes that the annotations of a state name, as ``(module, name)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langgraph.pregel import Pregel

try:
    from langgraph._internal import _serde

    _allowlist: Any = _serde.build_serde_allowlist
except (ImportError, AttributeError):  # only LangGraph's own safe types are deserialized
    _allowlist = None

__all__ = ["state_types"]


def state_types(graphs: Iterable[Any]) -> list[tuple[str, ...]]:
    """The classes that the states of these graphs and their subgraphs may hold."""
    found: set[tuple[str, ...]] = set()
    if _allowlist is None:
        return []
    for graph in graphs:
        if not isinstance(graph, Pregel):
            continue
        for each in (graph, *(below for _, below in graph.get_subgraphs(recurse=True))):
            builder: Any = getattr(each, "builder", None)
            schemas = [
                getattr(builder, name, None)
                for name in ("state_schema", "input_schema", "output_schema", "context_schema")
            ]
            schemas += [node.input_schema for node in getattr(builder, "nodes", {}).values()]
            channels = getattr(builder, "channels", None)
            found |= _allowlist(schemas=schemas, channels=channels)
    return sorted(found)
