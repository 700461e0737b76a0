"""``astream`` and ``stream``: drop-ins for the graph's own, with ``only=`` and ``buffer=``.

One run, one channel, one reader. ``run.py`` says how the run fills the channel.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, overload

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.types import Command, StreamMode, StreamPart

from tokenweir.streaming.arguments import check_arguments
from tokenweir.streaming.channel import (
    EndOfStream,
    ReceiveChannel,
    SendChannel,
    open_channel,
)
from tokenweir.streaming.filters import FilterLike
from tokenweir.streaming.run import Plan, run, run_sync
from tokenweir.streaming.run_filter import run_filter
from tokenweir.types import (
    GraphLike,
    Namespace,
    RemoteRunOptions,
    RunOptions,
    StreamStatistics,
    SyncGraphLike,
    Token,
)

if TYPE_CHECKING:
    from langgraph.typing import ContextT, InputT, OutputT, StateT
    from typing_extensions import Unpack

__all__ = ["SyncTokenStream", "TokenStream", "astream", "stream"]

T = TypeVar("T")

Modes: TypeAlias = list[StreamMode] | tuple[StreamMode, ...]
AnyMode: TypeAlias = StreamMode | Sequence[StreamMode] | None
Version: TypeAlias = Literal["v1", "v2"]

DEFAULT_BUFFER = 256
"""Chunks that may wait for the reader: a few seconds of a fast model, about 300 kB."""


# One overload for each shape of the parts; the last is for graphs that are not LangGraph's own.
# fmt: off
@overload
def astream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    stream_mode: Literal["messages"] = "messages", subgraphs: Literal[False] = False,
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> TokenStream[Token]: ...

@overload
def astream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    stream_mode: Literal["messages"] = "messages", subgraphs: Literal[True],
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> TokenStream[tuple[Namespace, Token]]: ...

@overload
def astream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    stream_mode: Modes, subgraphs: Literal[False] = False,
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> TokenStream[tuple[StreamMode, Any]]: ...

@overload
def astream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    stream_mode: Modes, subgraphs: Literal[True],
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> TokenStream[tuple[Namespace, StreamMode, Any]]: ...

@overload
def astream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    stream_mode: AnyMode = "messages", subgraphs: bool = False,
    version: Literal["v2"], context: ContextT | None = None, **options: Unpack[RunOptions],
) -> TokenStream[StreamPart[StateT, OutputT]]: ...

@overload
def astream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    stream_mode: AnyMode = "messages", subgraphs: bool = False,
    version: Version = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> TokenStream[Any]: ...

@overload
def astream(
    graph: GraphLike, input: Any,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
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
            the metadata. A run in which nothing passes ends with an UnmatchedFilterWarning. It
            applies to tokens, which are what ``messages`` mode yields and what
            nodes write as ``(chunk, metadata)`` in ``custom`` mode; everything else passes.
        buffer: How many chunks may wait for the reader before the model calls are held back.
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
        TypeError: At the call, if ``graph`` is no graph or a keyword argument is unknown.
        ValueError: At the call, if the stream mode, the version, the durability or the buffer is
            not valid; FilterError if ``only`` is not.
        StreamError: At the reader, if a model call fails, after the tokens that came before.
    """
    check_arguments("astream", graph, stream_mode, version, options)
    plan = Plan(graph, input, config, run_filter(only), stream_mode, subgraphs, version, options)
    return TokenStream(plan, *open_channel(buffer))


# fmt: off
@overload
def stream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    stream_mode: Literal["messages"] = "messages", subgraphs: Literal[False] = False,
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> SyncTokenStream[Token]: ...

@overload
def stream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    stream_mode: Literal["messages"] = "messages", subgraphs: Literal[True],
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> SyncTokenStream[tuple[Namespace, Token]]: ...

@overload
def stream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    stream_mode: Modes, subgraphs: Literal[False] = False,
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> SyncTokenStream[tuple[StreamMode, Any]]: ...

@overload
def stream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    stream_mode: Modes, subgraphs: Literal[True],
    version: Literal["v1"] = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> SyncTokenStream[tuple[Namespace, StreamMode, Any]]: ...

@overload
def stream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    stream_mode: AnyMode = "messages", subgraphs: bool = False,
    version: Literal["v2"], context: ContextT | None = None, **options: Unpack[RunOptions],
) -> SyncTokenStream[StreamPart[StateT, OutputT]]: ...

@overload
def stream(
    graph: Pregel[StateT, ContextT, InputT, OutputT], input: InputT | Command[Any] | None,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
    stream_mode: AnyMode = "messages", subgraphs: bool = False,
    version: Version = "v1", context: ContextT | None = None, **options: Unpack[RunOptions],
) -> SyncTokenStream[Any]: ...

@overload
def stream(
    graph: SyncGraphLike, input: Any,
    config: RunnableConfig | None = None, *, only: FilterLike | None = None, buffer: int = 256,
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
    stream_mode: AnyMode = "messages",
    subgraphs: bool = False,
    version: Version = "v1",
    **options: Any,
) -> SyncTokenStream[Any]:
    """Stream a graph's run, as ``graph.stream`` does; arguments and errors as for ``astream``.

    The run has a thread of its own, so that it goes on while the reader works. Leaving the
    iterator (``break``, ``close()``, the end of ``with``) stops the run.
    """
    check_arguments("stream", graph, stream_mode, version, options)
    plan = Plan(graph, input, config, run_filter(only), stream_mode, subgraphs, version, options)
    return SyncTokenStream(plan, *open_channel(buffer))


class TokenStream(AsyncIterator[T], Generic[T]):
    """The parts of one run, as they come. Made by ``astream``; read by one reader, once.

    The run starts at the first read. ``async with`` closes it for sure; so do ``aclose()``, the
    end, and letting go of it (``break`` out of an ``async for`` over it).
    """

    def __init__(self, plan: Plan, send: SendChannel[T], channel: ReceiveChannel[T]) -> None:
        self._plan = plan
        self._send = send
        self._channel = channel
        self._task: asyncio.Task[None] | None = None
        self._reading = False
        self._over = False

    def __aiter__(self) -> TokenStream[T]:
        return self

    async def __anext__(self) -> T:
        if self._over:
            raise StopAsyncIteration
        if self._reading:
            raise RuntimeError("this stream is being read by another task; use lanes() to share it")
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(run(self._plan, self._send))
        self._reading = True
        try:
            if self._channel.ready:
                return self._channel.receive_nowait()
            return await self._channel.receive()
        except EndOfStream:
            self._over = True
            self._plan.warn_of_filter(stacklevel=2)
            raise StopAsyncIteration from None
        except asyncio.CancelledError:
            await self.aclose()
            raise
        except BaseException:
            self._over = True
            raise
        finally:
            self._reading = False

    async def aclose(self) -> None:
        """Stop the run, and wait until all it had open is closed."""
        self._over = True
        self._channel.close()
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def __aenter__(self) -> TokenStream[T]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def statistics(self) -> StreamStatistics:
        """How many chunks wait for the reader, and how many calls it holds back."""
        return self._channel.statistics()

    def __del__(self) -> None:
        task = self._task
        if task is None or task.done():
            return
        self._channel.close()
        loop = task.get_loop()
        if not loop.is_closed():
            # Garbage is collected in whichever thread happens to be running.
            loop.call_soon_threadsafe(task.cancel)


class SyncTokenStream(Iterator[T], Generic[T]):
    """The parts of one run, as they come. Made by ``stream``; read by one reader, once."""

    _GRACE = 5.0
    """Seconds that ``close`` waits for a node that sits in somebody else's blocking call."""

    def __init__(self, plan: Plan, send: SendChannel[T], channel: ReceiveChannel[T]) -> None:
        self._plan = plan
        self._send = send
        self._channel = channel
        self._thread: threading.Thread | None = None
        self._over = False

    def __iter__(self) -> SyncTokenStream[T]:
        return self

    def __next__(self) -> T:
        if self._over:
            raise StopIteration
        if self._thread is None:
            context = contextvars.copy_context()
            self._thread = threading.Thread(
                target=context.run,
                args=(run_sync, self._plan, self._send),
                name="tokenweir-run",
                daemon=True,
            )
            self._thread.start()
        try:
            return self._channel.receive_sync()
        except EndOfStream:
            self._over = True
            self._plan.warn_of_filter(stacklevel=2)
            raise StopIteration from None
        except BaseException:
            self._over = True
            self._channel.close()
            raise

    def close(self) -> None:
        """Stop the run, and wait until all it had open is closed."""
        self._over = True
        self._channel.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._GRACE)

    def __enter__(self) -> SyncTokenStream[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def statistics(self) -> StreamStatistics:
        """How many chunks wait for the reader, and how many calls it holds back."""
        return self._channel.statistics()

    def __del__(self) -> None:
        self._channel.close()
