"""The parts of ``tools`` mode: when tools begin and end, and what they give out meanwhile.

LangGraph's own handler makes them. Private names in use: ``langgraph.pregel._tools`` and its
``StreamToolCallHandler``. Without them such streams take LangGraph's own queue.
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
except ImportError:  # pragma: no cover - a LangGraph of other insides
    tools_known = False
    StreamToolCallHandler = BaseCallbackHandler  # type: ignore[assignment, misc]

__all__ = ["ToolsHandler", "tools_known"]


class ToolsHandler(StreamToolCallHandler):
    """Gives what tools do to ``put``, from any thread.

    As with messages, ``subgraphs`` must be true until the run has started: LangGraph strips
    handlers without it from the callbacks of a run that starts outside of any task. It has to strip
    this one when a node starts a graph on a thread of its own.
    """

    def __init__(self, put: Callable[[Namespace, str, Any], None], *, subgraphs: bool) -> None:
        super().__init__(lambda part: put(*part), True)
        self._subgraphs = subgraphs

    def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        self.subgraphs = self._subgraphs  # the run has started
