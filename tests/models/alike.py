"""Comparing what our chat model streams with what ChatOpenAI streams."""

from __future__ import annotations

from typing import Any

from tokenweir.models._openai.reasoning import PROVIDER

__all__ = ["as_openais"]


def as_openais(value: Any) -> Any:
    """What ``without_run_ids`` gave, as if the server were OpenAI's own.

    Messages of other servers have a ``model_provider`` of ours.
    """
    if value == PROVIDER:
        return "openai"
    if isinstance(value, dict):
        return {name: as_openais(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(as_openais(item) for item in value)
    return value
