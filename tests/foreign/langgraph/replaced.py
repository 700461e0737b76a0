"""A pytest plugin: what a test streams of a graph comes by Tokenweir.

``STREAMED_BY_TOKENWEIR`` names the modes: ``messages``, or ``every``. What LangGraph's own code and
Tokenweir stream of a graph, as ``ainvoke`` does, comes by LangGraph.
"""

from __future__ import annotations

import os
import sys
from functools import wraps
from pathlib import Path
from typing import Any

import langgraph.pregel
from langgraph.pregel import Pregel

import tokenweir.streaming.stream as ours

EVERY = os.environ["STREAMED_BY_TOKENWEIR"] == "every"
PACKAGES = tuple(str(Path(str(module.__file__)).parents[1]) for module in (langgraph.pregel, ours))

_astream, _stream = Pregel.astream, Pregel.stream


def _by_langgraph(stream_mode: Any) -> bool:
    caller = sys._getframe(2).f_code.co_filename
    return caller.startswith(PACKAGES) or not (EVERY or stream_mode in ("messages", ["messages"]))


@wraps(_astream)
def astream(self: Any, input: Any, config: Any = None, **kwargs: Any) -> Any:
    """As ``Pregel.astream``."""
    if _by_langgraph(kwargs.get("stream_mode")):
        return _astream(self, input, config, **kwargs)
    return ours.astream(self, input, config, **{"stream_mode": None, **kwargs})


@wraps(_stream)
def stream(self: Any, input: Any, config: Any = None, **kwargs: Any) -> Any:
    """As ``Pregel.stream``."""
    if _by_langgraph(kwargs.get("stream_mode")):
        return _stream(self, input, config, **kwargs)
    return ours.stream(self, input, config, **{"stream_mode": None, **kwargs})


Pregel.astream, Pregel.stream = astream, stream  # type: ignore[method-assign]
