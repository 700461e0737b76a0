"""The vocabulary that every room shares: the one shape in which tokens travel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from langchain_core.messages import BaseMessage

__all__ = ["Metadata", "Namespace", "Token"]

Metadata: TypeAlias = dict[str, Any]
"""LangGraph's metadata of one model call: ``langgraph_node``, ``tags``, ``ls_model_name`` ...

All chunks of one call share one dict; treat it as read-only.
"""

Token: TypeAlias = tuple[BaseMessage, Metadata]
"""``(chunk, metadata)``: a message chunk (or a whole message) and the metadata of its call."""

Namespace: TypeAlias = tuple[str, ...]
"""The path of a subgraph, as ``subgraphs=True`` gives it: ``("editor:<task id>", ...)``."""

ReadOnlyMetadata: TypeAlias = Mapping[str, Any]
