"""Every public type that the rooms share.

``Token`` is the one shape in which tokens travel: every filter, lane, meter and display takes a
stream of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict

from langchain_core.messages import BaseMessage

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.runtime import RunControl
    from langgraph.types import All, Durability, StreamMode

__all__ = [
    "GraphLike",
    "Metadata",
    "Namespace",
    "ReadOnlyMetadata",
    "RemoteRunOptions",
    "RunOptions",
    "StreamStatistics",
    "SyncGraphLike",
    "Token",
]

Metadata: TypeAlias = dict[str, Any]
"""LangGraph's metadata of one model call: ``langgraph_node``, ``tags``, ``ls_model_name`` ...

All chunks of one call share one dict; treat it as read-only.
"""

ReadOnlyMetadata: TypeAlias = Mapping[str, Any]
"""``Metadata`` as an argument of functions that only read it."""

Token: TypeAlias = tuple[BaseMessage, Metadata]
"""``(chunk, metadata)``: a message chunk (or a whole message) and the metadata of its call."""

Namespace: TypeAlias = tuple[str, ...]
"""The path of a subgraph, as ``subgraphs=True`` gives it: ``("editor:<task id>", ...)``."""


@dataclass(frozen=True)
class StreamStatistics:
    """A snapshot of a stream's buffer.

    Attributes:
        waiting: Chunks that the reader has not taken yet.
        buffer: How many chunks may wait before producers are held back.
        put: Chunks that producers have put in so far.
        held: Producers that are waiting for room.
    """

    waiting: int
    buffer: int
    put: int
    held: int


class RunOptions(TypedDict, total=False):
    """Further keyword arguments of a compiled graph's ``astream``.

    They are passed to the graph unchanged; LangGraph's reference explains them.
    """

    print_mode: StreamMode | Sequence[StreamMode]
    output_keys: str | Sequence[str] | None
    interrupt_before: All | Sequence[str] | None
    interrupt_after: All | Sequence[str] | None
    durability: Durability | None
    control: RunControl | None
    debug: bool | None


class RemoteRunOptions(RunOptions, total=False):
    """``RunOptions``, and those of ``RemoteGraph`` alone: headers and query parameters."""

    headers: Mapping[str, str] | None
    params: Any


class GraphLike(Protocol):
    """A graph for ``astream`` that is not a compiled one: a ``RemoteGraph``, or your own wrapper.

    Its ``astream`` takes LangGraph's keyword arguments. The type of ``input`` excludes LangGraph's
    own graphs, whose input is checked against the graph's state instead.
    """

    def astream(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]: ...


class SyncGraphLike(Protocol):
    """Like ``GraphLike``, for ``stream``."""

    def stream(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]: ...
