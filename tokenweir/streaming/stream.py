"""``astream`` and ``stream``: drop-ins for the graph's own, with ``only=`` and ``buffer=``.

One run, one sink, one reader. How the run fills the sink is said in ``run.py``.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar, overload

from langchain_core.runnables import RunnableConfig

from tokenweir.streaming.channel import Closed, Sink
from tokenweir.streaming.filters import Filter, as_filter
from tokenweir.streaming.run import Plan, run, run_sync
from tokenweir.types import StreamStatistics, Token

__all__ = ["SyncTokenStream", "TokenStream", "astream", "stream"]

T = TypeVar("T")

DEFAULT_BUFFER = 256
"""Chunks that may wait for the reader: a few seconds of a fast model, some 300 kB."""


@overload
def astream(
    graph: Any,
    input: Any,
    config: RunnableConfig | None = None,
    *,
    only: Filter | str | Callable[..., object] | None = None,
    buffer: int = DEFAULT_BUFFER,
    stream_mode: Literal["messages"] = "messages",
    subgraphs: Literal[False] = False,
    version: Literal["v1"] = "v1",
    **kwargs: Any,
) -> TokenStream[Token]: ...


@overload
def astream(
    graph: Any,
    input: Any,
    config: RunnableConfig | None = None,
    *,
    only: Filter | str | Callable[..., object] | None = None,
    buffer: int = DEFAULT_BUFFER,
    stream_mode: str | Sequence[str] | None = "messages",
    subgraphs: bool = False,
    version: str = "v1",
    **kwargs: Any,
) -> TokenStream[Any]: ...


def astream(
    graph: Any,
    input: Any,
    config: RunnableConfig | None = None,
    *,
    only: Filter | str | Callable[..., object] | None = None,
    buffer: int = DEFAULT_BUFFER,
    stream_mode: str | Sequence[str] | None = "messages",
    subgraphs: bool = False,
    version: str = "v1",
    **kwargs: Any,
) -> TokenStream[Any]:
    """Stream a graph's run, as ``graph.astream`` does.

    Args:
        graph: A compiled graph, or anything with LangGraph's ``astream`` (a ``RemoteGraph``).
        input: The graph's input.
        config: The run's config.
        only: Which model calls pass: ``tag("joke")``, its text ``"tag:joke"``, or a function of
            the metadata. Holds for tokens (``messages``, and ``custom`` writes that are
            ``(chunk, metadata)``); everything else passes.
        buffer: Chunks that may wait for the reader before the model calls are held back.
        stream_mode: ``"messages"`` unless told; one name, or several in a list.
        subgraphs: Also stream from subgraphs, each part with its namespace.
        version: LangGraph's form of the parts.
        **kwargs: Whatever else ``graph.astream`` takes: ``context``, ``durability``,
            ``interrupt_before`` ...

    Returns:
        An async iterator of what ``graph.astream`` yields: ``(chunk, metadata)`` in ``messages``
        mode. Leaving it (``break``, ``aclose()``, cancellation, the end of ``async with``) stops
        the run and closes its providers' connections.

    Raises:
        StreamError: At the reader, after the tokens before it, when a model call fails.
        FilterError: If ``only`` cannot be understood.
    """
    plan = Plan(graph, input, config, as_filter(only), stream_mode, subgraphs, version, kwargs)
    return TokenStream(plan, Sink(buffer))


@overload
def stream(
    graph: Any,
    input: Any,
    config: RunnableConfig | None = None,
    *,
    only: Filter | str | Callable[..., object] | None = None,
    buffer: int = DEFAULT_BUFFER,
    stream_mode: Literal["messages"] = "messages",
    subgraphs: Literal[False] = False,
    version: Literal["v1"] = "v1",
    **kwargs: Any,
) -> SyncTokenStream[Token]: ...


@overload
def stream(
    graph: Any,
    input: Any,
    config: RunnableConfig | None = None,
    *,
    only: Filter | str | Callable[..., object] | None = None,
    buffer: int = DEFAULT_BUFFER,
    stream_mode: str | Sequence[str] | None = "messages",
    subgraphs: bool = False,
    version: str = "v1",
    **kwargs: Any,
) -> SyncTokenStream[Any]: ...


def stream(
    graph: Any,
    input: Any,
    config: RunnableConfig | None = None,
    *,
    only: Filter | str | Callable[..., object] | None = None,
    buffer: int = DEFAULT_BUFFER,
    stream_mode: str | Sequence[str] | None = "messages",
    subgraphs: bool = False,
    version: str = "v1",
    **kwargs: Any,
) -> SyncTokenStream[Any]:
    """Stream a graph's run, as ``graph.stream`` does; arguments and errors as for ``astream``.

    The run lives in a thread of its own, so that it goes on while the reader works. Leaving the
    iterator (``break``, ``close()``, the end of ``with``) stops the run.
    """
    plan = Plan(graph, input, config, as_filter(only), stream_mode, subgraphs, version, kwargs)
    return SyncTokenStream(plan, Sink(buffer))


class TokenStream(AsyncIterator[T], Generic[T]):
    """The parts of one run, as they come. Made by ``astream``; read by one reader, once.

    The run starts at the first read. ``async with`` closes it for sure; so do ``aclose()``, the
    end, and letting go of it (``break`` out of an ``async for`` over it).
    """

    def __init__(self, plan: Plan, sink: Sink[T]) -> None:
        self._plan = plan
        self._sink = sink
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
            self._task = asyncio.get_running_loop().create_task(run(self._plan, self._sink))
        self._reading = True
        try:
            if self._sink.ready:
                return self._sink.get_nowait()
            return await self._sink.get()
        except Closed:
            self._over = True
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
        self._sink.close()
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
        return self._sink.statistics()

    def __del__(self) -> None:
        task = self._task
        if task is None or task.done():
            return
        self._sink.close()
        loop = task.get_loop()
        if not loop.is_closed():
            # Garbage is collected in whichever thread happens to be running.
            loop.call_soon_threadsafe(task.cancel)


class SyncTokenStream(Iterator[T], Generic[T]):
    """The parts of one run, as they come. Made by ``stream``; read by one reader, once."""

    _GRACE = 5.0
    """Seconds that ``close`` waits for a node that sits in somebody else's blocking call."""

    def __init__(self, plan: Plan, sink: Sink[T]) -> None:
        self._plan = plan
        self._sink = sink
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
                args=(run_sync, self._plan, self._sink),
                name="tokenweir-run",
                daemon=True,
            )
            self._thread.start()
        try:
            return self._sink.get_blocking()
        except Closed:
            self._over = True
            raise StopIteration from None
        except BaseException:
            self._over = True
            self._sink.close()
            raise

    def close(self) -> None:
        """Stop the run, and wait until all it had open is closed."""
        self._over = True
        self._sink.close()
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
        return self._sink.statistics()

    def __del__(self) -> None:
        self._sink.close()
