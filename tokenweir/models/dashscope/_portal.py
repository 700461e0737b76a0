"""A sync interface for async iterators: one event loop in a separate thread, for the whole process.

It is for clients that stream well only asynchronously. A sync call asks the loop for one item at a
time, so nothing is read ahead of the reader.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from tokenweir.streaming.channel import ReaderLeft
from tokenweir.streaming.flow_control import current_flow_control

__all__ = ["Closable", "iterate"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_owner = 0


class Closable(Protocol[T_co]):
    """An async iterator that can be closed while it is being read; a generator cannot."""

    async def __anext__(self) -> T_co: ...

    async def aclose(self) -> None: ...


def iterate(open: Callable[[], Closable[T]]) -> Iterator[T]:
    """The items of an async iterator that is opened, read and closed in the portal's loop.

    Raises ReaderLeft if the reader of the call's run leaves.
    """
    loop = _running()
    items = open()
    end = object()

    async def following() -> Any:
        try:
            return await items.__anext__()
        except StopAsyncIteration:
            return end

    flow = current_flow_control.get()
    try:
        while True:
            future = asyncio.run_coroutine_threadsafe(following(), loop)
            if flow is not None:
                flow.channel.add_close_callback(future, functools.partial(_cancel, future))
            try:
                item = future.result()
            except concurrent.futures.CancelledError:
                raise ReaderLeft from None
            except BaseException:
                future.cancel()
                raise
            finally:
                if flow is not None:
                    flow.channel.remove_close_callback(future)
            if item is end:
                return
            yield item
    finally:
        asyncio.run_coroutine_threadsafe(items.aclose(), loop).result()


def _cancel(future: concurrent.futures.Future[Any]) -> None:
    future.cancel()


def _running() -> asyncio.AbstractEventLoop:
    global _loop, _owner
    with _lock:
        if _loop is None or _owner != os.getpid():  # forked: the thread is the parent's
            _loop, _owner = asyncio.new_event_loop(), os.getpid()
            threading.Thread(target=_loop.run_forever, name="tokenweir-portal", daemon=True).start()
        return _loop


@atexit.register
def _end() -> None:
    if _loop is not None and _owner == os.getpid():
        # The loop's open resources are held by generators, see _sdk.
        asyncio.run_coroutine_threadsafe(_loop.shutdown_asyncgens(), _loop).result(5)
