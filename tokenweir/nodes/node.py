"""``@node``: the config reaches the model calls inside a node, on Python 3.10 as on 3.11.

From Python 3.11 on, calls in a node find the node's config by themselves. On Python 3.10 the node
must take ``config`` and pass it on, unless it has ``@node``. Passing it by hand works everywhere.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from langchain_core.runnables.config import RunnableConfig, var_child_runnable_config

from tokenweir.streaming._langgraph.config_propagation import CONFIG_TRAVELS

__all__ = ["carrying", "node"]

F = TypeVar("F", bound=Callable[..., Any])


def node(function: F) -> F:
    """Make a node whose model calls get its config.

    Takes what ``StateGraph.add_node`` takes: a function or a method, sync or async, a callable
    object or a partial, with any of LangGraph's parameters (``config``, ``writer``, ``runtime``,
    ``store`` ...). Name, signature and type hints stay as they are. From Python 3.11 on the
    function itself is returned.

    ``interrupt()``, the ``writer`` and ``get_config()`` also work in the node. In an async node
    without ``@node`` they fail on Python 3.10.
    """
    if not callable(function):
        raise TypeError(f"@node takes a node's function, not {function!r}")
    return function if CONFIG_TRAVELS else carrying(function)


def carrying(function: F) -> F:
    """The wrapped function, for a Python on which the config does not travel by itself."""
    signature = inspect.signature(function)
    takes_config = "config" in signature.parameters
    is_async = _is_async(function)

    def split(args: Any, kwargs: dict[str, Any]) -> tuple[RunnableConfig | None, dict[str, Any]]:
        """The config, and the keywords for the function."""
        if not takes_config:
            kwargs = {**kwargs}
            return kwargs.pop("config", None), kwargs
        if "config" in kwargs:
            return kwargs["config"], kwargs
        # LangGraph passes it as a keyword. A call by hand may pass it anywhere, or not at all.
        return signature.bind(*args, **kwargs).arguments.get("config"), kwargs

    # The variable is set in the task or thread that runs the node. So everything that the node
    # calls sees it, and every task that it starts.
    async def run(*args: Any, **kwargs: Any) -> Any:
        config, kwargs = split(args, kwargs)
        if config is None:
            return await function(*args, **kwargs)
        token = var_child_runnable_config.set(config)
        try:
            return await function(*args, **kwargs)
        finally:
            var_child_runnable_config.reset(token)

    def run_sync(*args: Any, **kwargs: Any) -> Any:
        config, kwargs = split(args, kwargs)
        if config is None:
            return function(*args, **kwargs)
        token = var_child_runnable_config.set(config)
        try:
            return function(*args, **kwargs)
        finally:
            var_child_runnable_config.reset(token)

    wrapped: Any = run if is_async else run_sync
    functools.update_wrapper(wrapped, function)
    if not hasattr(function, "__name__"):
        wrapped.__name__ = getattr(_unwrapped(function), "__name__", type(function).__name__)
    hinted = _hinted(function)
    wrapped.__annotations__ = {**getattr(hinted, "__annotations__", {}), "config": RunnableConfig}
    wrapped.__wrapped__ = hinted  # annotations that are text are read in its module
    wrapped.__signature__ = _with_config(signature)
    return wrapped  # type: ignore[no-any-return]


def _is_async(function: Any) -> bool:
    inner = _unwrapped(function)
    return inspect.iscoroutinefunction(inner) or (
        not inspect.isroutine(inner) and inspect.iscoroutinefunction(type(inner).__call__)
    )


def _unwrapped(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _hinted(function: Any) -> Any:
    """The object whose type hints LangGraph would read. It reads none of a partial."""
    if isinstance(function, functools.partial) or inspect.isroutine(function):
        return function
    return type(function).__call__


def _with_config(signature: inspect.Signature) -> inspect.Signature:
    """The signature with a ``config`` keyword, so that LangGraph passes the config."""
    config = inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, annotation=RunnableConfig)
    others = [p for name, p in signature.parameters.items() if name != "config"]
    rest = [p for p in others if p.kind is inspect.Parameter.VAR_KEYWORD]
    before = [p for p in others if p.kind is not inspect.Parameter.VAR_KEYWORD]
    return signature.replace(parameters=[*before, config, *rest])
