"""Detects model calls that did not get their node's config, on Python before 3.11.

asyncio could not yet start a task in a given context. So a model that is called in a node without
the node's config does not know which run it belongs to, and streams nothing. LangChain asks
``register_configure_hook`` for handlers at every call; while a node runs, it gets one that checks
whether the call knows its node.
"""

from __future__ import annotations

import sys
import warnings
from contextvars import ContextVar
from types import FrameType
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

from tokenweir.errors import MissingConfigWarning

__all__ = ["CONFIG_TRAVELS", "name_the_fix", "node_begins", "running_node", "warn_lost"]

CONFIG_TRAVELS = sys.version_info >= (3, 11)
"""Whether config reaches nested calls by itself."""


_warned: set[str] = set()


def warn_lost(node: str) -> None:
    """Warn that a call in this node streams nothing, once per node."""
    if node in _warned:
        return
    _warned.add(node)
    warnings.warn(
        f"a model call in node {node!r} was not given the node's config, so none of its tokens "
        "are streamed: on Python 3.10, take `config` in the node and pass it on "
        "(model.ainvoke(messages, config)), or put @tokenweir.node on the node; if the node is not "
        "yours, as in create_agent, read tokenweir.stream instead",
        MissingConfigWarning,
        stacklevel=2,
    )


def name_the_fix(error: Exception) -> None:
    """Add the fix to LangGraph's error about a config that it cannot find in an async node."""
    if not CONFIG_TRAVELS and error.args == ("Called get_config outside of a runnable context",):
        error.args = (
            f"{error}: on Python 3.10, put @tokenweir.node on the node that calls interrupt(), "
            "get_config(), get_stream_writer() or get_store()",
        )


class _LookForConfig(BaseCallbackHandler):
    run_inline = True
    raise_error = True  # if warnings are errors, this one must not be swallowed

    def __init__(self, node: str) -> None:
        self.node = node

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, metadata: Any = None, **kwargs: Any
    ) -> None:
        if "langgraph_node" not in (metadata or {}):
            warn_lost(self.node)

    def on_llm_start(
        self, serialized: Any, prompts: Any, *, metadata: Any = None, **kwargs: Any
    ) -> None:
        self.on_chat_model_start(serialized, prompts, metadata=metadata)


_looking: ContextVar[_LookForConfig | None] = ContextVar("looking_for_config", default=None)
if not CONFIG_TRAVELS:
    register_configure_hook(_looking, inheritable=False)


def node_begins(name: str, metadata: dict[str, Any] | None) -> None:
    """Called when a chain starts in this task; if it is a node's own, watch its model calls."""
    if not CONFIG_TRAVELS and metadata and metadata.get("langgraph_node") == name:
        _looking.set(_LookForConfig(name))


def running_node() -> str | None:
    """The name of the LangGraph node that this coroutine is running in, if it is in one.

    It is read from the stack, because before Python 3.11 a node's context does not reach the code
    that the node calls, and only then is this needed.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "arun_with_retry":
            return getattr(frame.f_locals.get("task"), "name", None)
        frame = frame.f_back
    return None
