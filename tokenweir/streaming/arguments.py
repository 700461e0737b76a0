"""Checks the arguments of ``astream`` and ``stream`` at the call, not at the first read.

LangGraph ignores unknown keywords, and streams nothing in an unknown mode. Both are errors here.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from langgraph.pregel import Pregel
from langgraph.types import Durability, StreamMode

__all__ = ["check_arguments"]

_OURS = ("only", "buffer", "retract", "on_stop")
_MODES = (*get_args(StreamMode), "tools")  # LangGraph has it, but its type does not name it
_DEPRECATED = ("checkpoint_during",)
"""Keywords that LangGraph still accepts although they are not in its signature."""


def check_arguments(
    method: str, graph: Any, stream_mode: Any, version: Any, options: Mapping[str, Any]
) -> None:
    """Check the arguments of a call. The error names what is allowed.

    Args:
        method: The name of the graph's method, and of Tokenweir's function: ``"astream"``.
        graph: The first argument of the call.
        stream_mode: Its ``stream_mode``.
        version: Its ``version``.
        options: The keyword arguments that are passed on to the graph.

    Raises:
        TypeError: If the graph is not a graph, or does not take a keyword.
        ValueError: If a mode, the version or the durability is unknown.
    """
    run = getattr(graph, method, None)
    if not callable(run):
        fix = "compile it first: graph.compile()" if hasattr(graph, "compile") else f"not {graph!r}"
        raise TypeError(f"{method} takes a compiled graph, or an object with its {method}(); {fix}")
    if options:
        _check_keywords(method, graph, run, options)
    if isinstance(stream_mode, str) or not isinstance(stream_mode, (Sequence, type(None))):
        stream_mode = [stream_mode]
    for mode in stream_mode or ():
        _check_choice("stream_mode", mode, _MODES)
    _check_choice("version", version, ("v1", "v2"))
    if options.get("durability") is not None:
        _check_choice("durability", options["durability"], get_args(Durability))


def _check_keywords(method: str, graph: Any, run: Any, options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(run).parameters.values()
    known = {*_OURS, *(each.name for each in parameters if each.kind != each.VAR_KEYWORD)}
    takes_any = any(each.kind == each.VAR_KEYWORD for each in parameters)
    for name in options.keys() - known:
        # LangGraph's own **kwargs hold only deprecated keywords; it ignores all others.
        if name in _DEPRECATED or (
            takes_any and not isinstance(graph, Pregel) and not get_close_matches(name, known)
        ):
            continue
        raise TypeError(
            f"{method} got an unexpected keyword argument {name!r}{_meant(name, known)}. "
            f"It takes {', '.join(sorted(known))}"
        )


def _check_choice(name: str, value: object, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise ValueError(
            f"{name} is one of {', '.join(map(repr, allowed))}; "
            f"not {value!r}{_meant(str(value), allowed)}"
        )


def _meant(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f" (did you mean {near[0]}?)" if near else ""
