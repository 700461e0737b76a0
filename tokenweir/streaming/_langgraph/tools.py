"""The parts of ``tools`` mode: the start, output and end of tool calls.

LangGraph's own handler makes them. Private names in use: ``langgraph.pregel._tools`` and its
``StreamToolCallHandler``. Without them such streams use LangGraph's own queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler

from tokenweir.types import Namespace

tools_known = True
"""Whether LangGraph has such a handler."""
try:
    from langgraph.pregel._tools import StreamToolCallHandler
except ImportError:  # pragma: no cover - a LangGraph with other internals
    tools_known = False
    StreamToolCallHandler = BaseCallbackHandler  # type: ignore[assignment, misc]

__all__ = ["ToolsHandler", "tools_known"]


class ToolsHandler(StreamToolCallHandler):
    """Passes the parts of ``tools`` mode to ``put``, from any thread.

    As with messages, ``subgraphs`` must be true until the run has started: from the callbacks of a
    run that starts outside of any task, LangGraph strips handlers without it. It must strip this
    one if a node starts a graph in a separate thread.
    """

    def __init__(self, put: Callable[[Namespace, str, Any], None], *, subgraphs: bool) -> None:
        super().__init__(lambda part: put(*part), True)
        self._subgraphs = subgraphs

    def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        self.subgraphs = self._subgraphs  # the run has started
