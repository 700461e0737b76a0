"""``astream_events`` and ``stream_events``: LangGraph's v3 run stream, fed by ``astream``.

The run stream itself is LangGraph's: its projections, transformers, subgraphs. It reads the parts
of Tokenweir's stream, filtered at the source. Tokens arrive as chunks and are turned into block
events here, so model calls need not take LangChain's slower path to produce these events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Literal

from langchain_core.messages import AIMessageChunk, BaseMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.stream import AsyncGraphRunStream, GraphRunStream

from tokenweir.streaming._langgraph.run_config import shapes_state
from tokenweir.streaming._langgraph.run_stream import pulling_directly
from tokenweir.streaming.blocks import MessageBlocks
from tokenweir.streaming.filters import FilterLike
from tokenweir.streaming.stream import DEFAULT_BUFFER, astream, stream
from tokenweir.streaming.token_stream import TokenStream

__all__ = ["astream_events", "stream_events"]

Transformers = Sequence[Callable[[tuple[str, ...]], Any]]

_INTERRUPT = "__interrupt__"


async def astream_events(
    graph: Pregel[Any, Any, Any, Any],
    input: Any,
    config: RunnableConfig | None = None,
    *,
    version: Literal["v3"] = "v3",
    only: FilterLike | None = None,
    buffer: int = DEFAULT_BUFFER,
    transformers: Transformers | None = None,
    **options: Any,
) -> AsyncGraphRunStream:
    """Start a run, as ``await graph.astream_events(..., version="v3")`` does.

    Messages in the state stay as ``astream`` leaves them; LangGraph's own v3 rewrites their content
    into blocks.

    Args:
        graph: A compiled graph.
        input: The graph's input.
        config: The run's config.
        version: LangGraph's third version of events; for the others, use the graph's own method.
        only: Which model calls pass, as for ``astream``.
        buffer: How many parts may wait for the reader before the model calls are held back.
        transformers: Passed to LangGraph's run stream.
        **options: Everything else that ``graph.astream`` takes.

    Returns:
        LangGraph's run stream: ``messages``, ``values``, ``subgraphs``, ``output()``.
        Iterating over it yields the events. The end of ``async with``, or ``abort()``, stops the
        run.

    Raises:
        TypeError: If ``graph`` is not a compiled graph of this process, or an argument is unknown.
        ValueError: If the version is another one; FilterError if ``only`` is not valid.
    """
    _check(graph, version)
    source = _Source(graph, only, buffer)
    started: Awaitable[AsyncGraphRunStream] = source.in_place(
        "astream", source.astream
    ).astream_events(input, config, version="v3", transformers=transformers, **options)
    return pulling_directly(await started)


def stream_events(
    graph: Pregel[Any, Any, Any, Any],
    input: Any,
    config: RunnableConfig | None = None,
    *,
    version: Literal["v3"] = "v3",
    only: FilterLike | None = None,
    buffer: int = DEFAULT_BUFFER,
    transformers: Transformers | None = None,
    **options: Any,
) -> GraphRunStream:
    """Start a run, as ``graph.stream_events(..., version="v3")`` does.

    Arguments and errors are those of ``astream_events``. The run has its own thread.
    """
    _check(graph, version)
    source = _Source(graph, only, buffer)
    started: GraphRunStream = source.in_place("stream", source.stream).stream_events(
        input, config, version="v3", transformers=transformers, **options
    )
    return started


def _check(graph: Any, version: str) -> None:
    if version != "v3":
        raise ValueError(f"version is 'v3'; for {version!r} call graph.astream_events")
    if not isinstance(graph, Pregel):
        raise TypeError(f"events come from a compiled graph, not from {type(graph).__name__}")


class _Source:
    """The source of LangGraph's run stream, in place of the graph's own stream."""

    def __init__(self, graph: Any, only: FilterLike | None, buffer: int) -> None:
        self._graph = graph
        self._more: dict[str, Any] = {"only": only, "buffer": buffer}

    def in_place(self, method: str, ours: Callable[..., Any]) -> Any:
        """A copy of the graph that streams through this source."""
        copy = self._graph.copy({})
        setattr(copy, method, ours)
        return copy

    def _asked(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The arguments for Tokenweir's stream, and whether its parts are passed on unchanged."""
        options = {name: value for name, value in kwargs.items() if value is not None}
        options.pop("version", None)
        options["stream_mode"] = list(options["stream_mode"])
        if shapes_state(self._graph):
            return {**options, "version": "v2"}, True
        return options, False

    def astream(self, given: Any, config: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        options, as_they_are = self._asked(kwargs)
        parts = astream(self._graph, given, config, **options, **self._more)
        return parts if as_they_are else _ToldParts(parts)

    def stream(self, given: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        options, as_they_are = self._asked(kwargs)
        parts = stream(self._graph, given, config, **options, **self._more)
        told = _Parts()
        with closing(parts):
            for part in parts:
                yield from [part] if as_they_are else told.feed(part)


class _ToldParts(AsyncIterator[Any]):
    """LangGraph's typed parts, made from the parts of Tokenweir's stream."""

    def __init__(self, parts: TokenStream[Any]) -> None:
        self._parts = parts
        self._told = _Parts()
        self._ready: deque[dict[str, Any]] = deque()

    async def __anext__(self) -> dict[str, Any]:
        while not self._ready:
            self._ready.extend(self._told.feed(await self._parts.__anext__()))
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Close the stream, also while it is being read."""
        await self._parts.aclose()


class _Parts:
    """Makes LangGraph's typed parts from Tokenweir's, and events from chunks."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[MessageBlocks, dict[str, Any]]] = {}

    def feed(self, part: Any) -> list[dict[str, Any]]:
        namespace, mode, payload = part
        if mode == "messages":
            told = self._message(*payload)
            return [{"type": mode, "ns": namespace, "data": data} for data in told]
        typed = {"type": mode, "ns": namespace, "data": payload}
        if mode == "values":
            typed["interrupts"] = ()
            if isinstance(payload, dict) and _INTERRUPT in payload:
                typed["data"] = state = dict(payload)
                typed["interrupts"] = state.pop(_INTERRUPT)
        return [typed]

    def _message(self, message: BaseMessage, metadata: Any) -> list[tuple[Any, Any]]:
        message_id = str(message.id)
        if isinstance(message, AIMessageChunk):
            return self._chunk(message, message_id, metadata)
        if isinstance(message, RemoveMessage) and message_id in self._begun:
            blocks, about = self._begun[message_id]
            return [(blocks.retract(), about)]
        if isinstance(message, ToolMessage):  # tools have a mode of their own
            return []
        return [(message, metadata)]

    def _chunk(
        self, chunk: AIMessageChunk, message_id: str, metadata: Any
    ) -> list[tuple[Any, Any]]:
        fields, told = vars(chunk), []
        known = self._begun.get(message_id)
        if known is None:
            about = {**metadata, "run_id": message_id.removeprefix("lc_run--")}
            known = self._begun[message_id] = (MessageBlocks(message_id), about)
            told.append((known[0].begin(fields), about))
        blocks, about = known
        told += [(data, about) for _, data in blocks.feed(fields)]
        if chunk.chunk_position == "last":
            told += [(data, about) for data in blocks.end()]
        return told
