"""``astream`` and ``stream``: drop-ins for the graph's own, with ``only=`` and ``buffer=``.

One run, one channel, one reader. ``run.py`` says how the run fills the channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.types import Command, StreamMode, StreamPart

from tokenweir.streaming._langgraph.keeping import cannot_keep
from tokenweir.streaming.any_stream import complete
from tokenweir.streaming.arguments import check_arguments
from tokenweir.streaming.channel import open_channel
from tokenweir.streaming.filters import FilterLike
from tokenweir.streaming.run import Plan, run
from tokenweir.streaming.run_filter import run_filter
from tokenweir.streaming.shown import Shown
from tokenweir.streaming.token_stream import (
    ChannelStream,
    Producer,
    SyncTokenStream,
    ThreadStream,
    TokenStream,
)
from tokenweir.types import (
    GraphLike,
    Namespace,
    RemoteRunOptions,
    RunOptions,
    SyncGraphLike,
    Token,
)

if TYPE_CHECKING:
    from langgraph.typing import ContextT, InputT, OutputT, StateT
    from typing_extensions import Unpack

__all__ = ["astream", "stream"]

Modes: TypeAlias = list[StreamMode] | tuple[StreamMode, ...]
AnyMode: TypeAlias = StreamMode | Sequence[StreamMode] | None
Version: TypeAlias = Literal["v1", "v2"]
OnStop: TypeAlias = Literal["keep"] | None

DEFAULT_BUFFER = 256
"""Chunks that may wait for the reader. 256 are a few seconds of a fast model, about 300 kB."""


# One overload for each shape of the parts; the last is for graphs that are not LangGraph's own.
# fmt: off
@overload
def astream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: Literal["messages"] = "messages",
    subgraphs: Literal[False] = False,
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> TokenStream[Token]: ...

@overload
def astream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: Literal["messages"] = "messages", subgraphs: Literal[True],
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> TokenStream[tuple[Namespace, Token]]: ...

@overload
def astream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: Modes, subgraphs: Literal[False] = False,
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> TokenStream[tuple[StreamMode, Any]]: ...

@overload
def astream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: Modes, subgraphs: Literal[True],
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> TokenStream[tuple[Namespace, StreamMode, Any]]: ...

@overload
def astream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: AnyMode = "messages", subgraphs: bool = False,
    version: Literal["v2"], context: ContextT | None = None, **options: Unpack[RunOptions],
) -> TokenStream[StreamPart[StateT, OutputT]]: ...

@overload
def astream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: AnyMode = "messages", subgraphs: bool = False,
    version: Version = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> TokenStream[Any]: ...

@overload
def astream(
    graph: GraphLike, input: Any,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: AnyMode = "messages", subgraphs: bool = False,
    version: Version = "v1", context: Any = None, **options: Unpack[RemoteRunOptions],
) -> TokenStream[Any]: ...
# fmt: on
def astream(
    graph: Any,
    input: Any,
    config: RunnableConfig | None = None,
    *,
    only: FilterLike | None = None,
    buffer: int = DEFAULT_BUFFER,
    retract: bool = True,
    on_stop: OnStop = None,
    stream_mode: AnyMode = "messages",
    subgraphs: bool = False,
    version: Version = "v1",
    **options: Any,
) -> TokenStream[Any]:
    """Stream a graph's run, as ``graph.astream`` does.

    Args:
        graph: A compiled graph, or another object with LangGraph's ``astream`` (``RemoteGraph``).
        input: The graph's input.
        config: The run's config.
        only: Which model calls pass: ``tag("joke")``, its text ``"tag:joke"``, or a function of
            the metadata. It applies to tokens: what ``messages`` mode yields, and what nodes write
            as ``(chunk, metadata)`` in ``custom`` mode. Everything else passes. A run in which
            nothing passes ends with an UnmatchedFilterWarning.
        buffer: How many chunks may wait for the reader before the model calls are held back.
        retract: Whether to retract void messages. If an attempt of a node or of a model call fails
            after some tokens and is repeated, ``(RemoveMessage(id=...), metadata)`` comes before
            the tokens of the next attempt.
        on_stop: With ``"keep"``, a run that is stopped puts the messages that the reader was given
            into its state's ``messages``; the graph needs a checkpointer. By default, interrupted
            answers do not reach the state, as in LangGraph.
        stream_mode: One of LangGraph's stream modes, or a list of them.
        subgraphs: Also stream from subgraphs; each part then carries its namespace.
        version: The shape of the parts, as in LangGraph: ``"v1"`` for tuples, ``"v2"`` for dicts.
        **options: Everything else that ``graph.astream`` takes: ``context``, ``durability``,
            ``interrupt_before`` ... (``tokenweir.types.RunOptions``).

    Returns:
        An async iterator of what ``graph.astream`` yields: ``(chunk, metadata)`` in ``messages``
        mode. Leaving it (``break``, ``aclose()``, cancellation, the end of ``async with``) stops
        the run and closes its providers' connections.

    Raises:
        TypeError: At the call, if ``graph`` is not a graph or a keyword argument is unknown.
        ValueError: At the call, if the stream mode, the version, the durability or the buffer is
            not valid, or a graph cannot keep what was shown; FilterError if ``only`` is not valid.
        StreamError: At the reader, if a model call fails, after the tokens that came before.
    """
    check_arguments("astream", graph, stream_mode, version, options)
    shown = _kept(on_stop, graph, config)
    more = (stream_mode, subgraphs, version, options, retract, shown)
    plan = Plan(graph, input, config, run_filter(only), *more)
    send, receive = open_channel(buffer, plan.reader)
    return ChannelStream(receive, Producer(partial(run, plan, send)), plan.warn_of_filter)


# fmt: off
@overload
def stream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: Literal["messages"] = "messages",
    subgraphs: Literal[False] = False,
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> SyncTokenStream[Token]: ...

@overload
def stream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: Literal["messages"] = "messages", subgraphs: Literal[True],
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> SyncTokenStream[tuple[Namespace, Token]]: ...

@overload
def stream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: Modes, subgraphs: Literal[False] = False,
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> SyncTokenStream[tuple[StreamMode, Any]]: ...

@overload
def stream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: Modes, subgraphs: Literal[True],
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> SyncTokenStream[tuple[Namespace, StreamMode, Any]]: ...

@overload
def stream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: AnyMode = "messages", subgraphs: bool = False,
    version: Literal["v2"], context: ContextT | None = None, **options: Unpack[RunOptions],
) -> SyncTokenStream[StreamPart[StateT, OutputT]]: ...

@overload
def stream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: AnyMode = "messages", subgraphs: bool = False,
    version: Version = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> SyncTokenStream[Any]: ...

@overload
def stream(
    graph: SyncGraphLike, input: Any,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    retract: bool = True, on_stop: OnStop = None,
    stream_mode: AnyMode = "messages", subgraphs: bool = False,
    version: Version = "v1", context: Any = None, **options: Unpack[RemoteRunOptions],
) -> SyncTokenStream[Any]: ...
# fmt: on
def stream(
    graph: Any,
    input: Any,
    config: RunnableConfig | None = None,
    *,
    only: FilterLike | None = None,
    buffer: int = DEFAULT_BUFFER,
    retract: bool = True,
    on_stop: OnStop = None,
    stream_mode: AnyMode = "messages",
    subgraphs: bool = False,
    version: Version = "v1",
    **options: Any,
) -> SyncTokenStream[Any]:
    """Stream a graph's run, as ``graph.stream`` does; arguments and errors as for ``astream``.

    The run has its own thread, so it continues while the reader works. Leaving the iterator
    (``break``, ``close()``, the end of ``with``) stops the run.
    """
    check_arguments("stream", graph, stream_mode, version, options)
    shown = _kept(on_stop, graph, config)
    more = (stream_mode, subgraphs, version, options, retract, shown)
    plan = Plan(graph, input, config, run_filter(only), *more)
    send, receive = open_channel(buffer, plan.reader)
    return ThreadStream(
        receive, lambda: complete(run(plan, send, blocking=True)), plan.warn_of_filter
    )


def _kept(on_stop: str | None, graph: Any, config: RunnableConfig | None) -> Shown | None:
    """The record of what the reader is given, if a stopped run is to keep it; else None."""
    if on_stop is None:
        return None
    if on_stop != "keep":
        raise ValueError(f"on_stop is 'keep' or None; not {on_stop!r}")
    if (why := cannot_keep(graph, config)) is not None:
        raise ValueError(f"on_stop='keep' cannot keep what was shown: {why}")
    return Shown()
