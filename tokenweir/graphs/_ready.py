"""Shared by the ready graphs: tagged models, and a ``graph`` that is built at first use."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel

from tokenweir.models.chat import chat_model

__all__ = ["graph_on_demand", "tagged"]


def tagged(model: BaseChatModel | str | None, *tags: str) -> BaseChatModel:
    """A chat model with these tags: by its name, or a copy of this model."""
    if isinstance(model, BaseChatModel):
        return model.model_copy(update={"tags": [*(model.tags or ()), *tags]})
    return chat_model(model, tags=tags)


def graph_on_demand(module: str, build: Callable[[], Any]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that builds its ``graph`` at first use.

    This way, importing a ready graph for its ``build`` chooses no model and needs no key.
    """

    def get(name: str) -> Any:
        if name != "graph":
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        graph = build()
        vars(sys.modules[module])["graph"] = graph
        return graph

    return get
