"""The tags of a graph's models, as far as its code shows them: the possible ``graph:tag``.

Nodes are functions whose models come from their closure or globals, or runnables that contain
models. Both are searched; models that are created while the graph runs cannot be found.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable, RunnableBinding, RunnableParallel, RunnableSequence
from langgraph.pregel import Pregel

__all__ = ["tags_in"]

_MOST = 2000
"""The most values to visit; a function may refer to a whole program."""

_DEEP = 6
_NOT_OURS = ("langsmith:", "seq:", "graph:")
"""Prefixes of tags that LangChain and LangGraph add or interpret themselves."""


def tags_in(graph: Any) -> list[str]:
    """The distinct tags, in the order in which they are found."""
    found: dict[str, None] = {}
    seen: set[int] = set()
    left = [(graph, 0)]
    while left and len(seen) < _MOST:
        value, depth = left.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        found |= dict.fromkeys(_tags_of(value))
        if depth < _DEEP:
            left += [(each, depth + 1) for each in _below(value)]
    return [tag for tag in found if not tag.startswith(_NOT_OURS)]


def _tags_of(value: Any) -> list[str]:
    tags: Any = None
    if isinstance(value, RunnableBinding):
        tags = value.config.get("tags")
    elif isinstance(value, BaseLanguageModel):
        tags = value.tags
    return [tag for tag in tags or () if isinstance(tag, str)]


def _below(value: Any) -> Iterator[Any]:
    """The values inside a value that may call models."""
    if isinstance(value, Pregel):
        for node in value.nodes.values():
            yield node.bound
    elif isinstance(value, RunnableBinding):
        yield value.bound
    elif isinstance(value, RunnableSequence):
        yield from value.steps
    elif isinstance(value, RunnableParallel):
        yield from value.steps__.values()
    elif isinstance(value, functools.partial):
        yield value.func
        yield from value.args
        yield from value.keywords.values()
    elif isinstance(value, MethodType):
        yield value.__func__
        yield from vars(value.__self__).values() if hasattr(value.__self__, "__dict__") else ()
    elif isinstance(value, FunctionType):
        yield from _around(value)
    elif isinstance(value, Runnable):
        # RunnableLambda, and LangGraph's runnable of nodes.
        for name in ("func", "afunc"):
            if (function := vars(value).get(name)) is not None:
                yield function


def _around(function: FunctionType) -> Iterator[Any]:
    """The models that a function refers to, and functions that may have some."""
    if (wrapped := getattr(function, "__wrapped__", None)) is not None:
        yield wrapped
    try:
        around = inspect.getclosurevars(function)
    except ValueError:  # an unbound variable
        return
    for value in (*around.nonlocals.values(), *around.globals.values()):
        if isinstance(value, (Runnable, FunctionType, MethodType, functools.partial)):
            yield value
