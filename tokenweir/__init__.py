"""Tokenweir carries every token that a model writes inside a LangGraph graph to its readers.

::

    from tokenweir import astream, chat_model, tag

    async for chunk, metadata in astream(graph, {"topic": "cats"}, only=tag("joke")):
        print(chunk.content, end="|", flush=True)

Names are imported when they are first used, so that ``import tokenweir`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenweir._version import __version__
    from tokenweir.display.show import show
    from tokenweir.encoders.functions import encode_agui, encode_ai_sdk
    from tokenweir.errors import (
        ConnectTimeoutError,
        DashScopeError,
        EmbeddedModelError,
        FilterError,
        FirstTokenTimeoutError,
        GraphLoadError,
        GuardError,
        MissingConfigWarning,
        ModelNameError,
        ObjectError,
        PictureError,
        ProviderError,
        StreamError,
        TimeLimitError,
        TokenGapTimeoutError,
        TokenweirError,
        UnmatchedFilterWarning,
    )
    from tokenweir.models.chat import chat_model
    from tokenweir.models.completion import completion_model
    from tokenweir.models.embedded.model import start_model
    from tokenweir.nodes.node import node
    from tokenweir.nodes.write_tokens import write_tokens
    from tokenweir.streaming.collect import collect
    from tokenweir.streaming.events import astream_events, stream_events
    from tokenweir.streaming.filters import (
        Filter,
        from_agent,
        from_model,
        from_node,
        from_tool,
        in_namespace,
        reasoning,
        tag,
        text,
    )
    from tokenweir.streaming.guard import guard
    from tokenweir.streaming.lanes import lanes
    from tokenweir.streaming.meter import Meter
    from tokenweir.streaming.objects import objects
    from tokenweir.streaming.stream import astream, stream
    from tokenweir.streaming.token_stream import SyncTokenStream, TokenStream
    from tokenweir.types import Token

__all__ = [
    "ConnectTimeoutError",
    "DashScopeError",
    "EmbeddedModelError",
    "Filter",
    "FilterError",
    "FirstTokenTimeoutError",
    "GraphLoadError",
    "GuardError",
    "Meter",
    "MissingConfigWarning",
    "ModelNameError",
    "ObjectError",
    "PictureError",
    "ProviderError",
    "StreamError",
    "SyncTokenStream",
    "TimeLimitError",
    "Token",
    "TokenGapTimeoutError",
    "TokenStream",
    "TokenweirError",
    "UnmatchedFilterWarning",
    "__version__",
    "astream",
    "astream_events",
    "chat_model",
    "collect",
    "completion_model",
    "encode_agui",
    "encode_ai_sdk",
    "from_agent",
    "from_model",
    "from_node",
    "from_tool",
    "guard",
    "in_namespace",
    "lanes",
    "node",
    "objects",
    "reasoning",
    "show",
    "start_model",
    "stream",
    "stream_events",
    "tag",
    "text",
    "write_tokens",
]

_MODULES = {
    "Filter": "streaming.filters",
    "Meter": "streaming.meter",
    "SyncTokenStream": "streaming.token_stream",
    "Token": "types",
    "TokenStream": "streaming.token_stream",
    "__version__": "_version",
    "astream": "streaming.stream",
    "astream_events": "streaming.events",
    "chat_model": "models.chat",
    "collect": "streaming.collect",
    "completion_model": "models.completion",
    "from_model": "streaming.filters",
    "encode_agui": "encoders.functions",
    "encode_ai_sdk": "encoders.functions",
    "from_agent": "streaming.filters",
    "from_node": "streaming.filters",
    "from_tool": "streaming.filters",
    "guard": "streaming.guard",
    "in_namespace": "streaming.filters",
    "lanes": "streaming.lanes",
    "load_ipython_extension": "graphs.notebook",  # for IPython: %load_ext tokenweir
    "node": "nodes.node",
    "objects": "streaming.objects",
    "reasoning": "streaming.filters",
    "show": "display.show",
    "start_model": "models.embedded.model",
    "stream": "streaming.stream",
    "stream_events": "streaming.events",
    "tag": "streaming.filters",
    "text": "streaming.filters",
    "write_tokens": "nodes.write_tokens",
}
"""The module of each name. The names in ``__all__`` that are missing here are in ``errors``."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES and name not in __all__:
        raise AttributeError(f"module 'tokenweir' has no attribute {name!r}")
    value = getattr(import_module(f"tokenweir.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
