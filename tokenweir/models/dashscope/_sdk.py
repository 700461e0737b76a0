"""All contact with the ``dashscope`` SDK: its own protocol's stream, as deltas.

The SDK's async calls are used, for sync callers too. Three of its properties are handled here:

- Its stream is made of nested generators, and closing the outermost leaves the others, and the
  connection, to the garbage collector. So each call has its own session, made here; leaving the
  call closes the session, which closes the connection at once and ends the generators from within.
  The session of a completed call is reused.
- Its sessions have no limit for connecting; those made here do.
- It logs the provider's error messages, which may contain the key; those records are cleaned.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from tokenweir.errors import DashScopeError, StreamError, TokenweirError
from tokenweir.models._calls.policy import retry_after
from tokenweir.models._calls.state import CallState, ClientAdapter, Failure
from tokenweir.models.dashscope.cumulative import Delta, Deltas
from tokenweir.models.secrets import scrub, scrub_text

try:
    import aiohttp
    import dashscope
except ImportError as error:
    from tokenweir.errors import ModelNameError

    raise ModelNameError(
        "dashscope:MODEL needs DashScope's SDK: pip install 'tokenweir[dashscope]' "
        "(qwen:MODEL reaches the same models without it)"
    ) from error

__all__ = ["Event", "Responses", "adapter"]

_TRANSIENT_STATUS = frozenset((408, 409, 429))
_TRANSIENT_CODES = ("Throttling", "InternalError", "SystemError", "RequestTimeOut")
_NEVER = 7 * 86_400
"""The SDK's own timeout, in seconds; Tokenweir's limits are shorter and say more."""
_LINE = 1 << 22
"""Bytes that a cumulative event may have; aiohttp refuses lines of more than twice its buffer."""
_SMALL_LINE = 1 << 16


Event = tuple[Delta, Mapping[str, Any], str]
"""The delta, the usage so far, and the request's id."""


class Responses(AsyncIterator[Event]):
    """The events of one call."""

    def __init__(self, *, incremental: bool, connect: float, **call: Any) -> None:
        self._call = call
        self._deltas = Deltas(incremental)
        self._pool = _pool_of(asyncio.get_running_loop(), incremental, connect)
        self._session: Any = None
        self._responses: Any = None
        if incremental:
            # Left out, the server's own default is cumulative. Given as False, the SDK would ask
            # for increments and add them up itself.
            call["incremental_output"] = True

    async def open(self) -> Responses:
        """Prepare the call; it is made with the first event."""
        await self._pool.start()
        self._session = self._pool.take()
        self._responses = await dashscope.AioGeneration.call(
            **self._call,
            stream=True,
            result_format="message",
            session=self._session,
            request_timeout=_NEVER,
        )
        return self

    def __aiter__(self) -> Responses:
        return self

    async def __anext__(self) -> Event:
        if self._session is None:
            raise StopAsyncIteration
        try:
            response = await self._responses.__anext__()
        except StopAsyncIteration:
            self._pool.give_back(self._session)
            self._session = None
            raise
        if response.status_code != 200:
            raise DashScopeError(
                int(response.status_code),
                str(response.code or "Unknown"),
                str(response.message or "no reason was given"),
                str(response.request_id or ""),
                retry_after(response.headers or {}, time.time()),
            )
        delta = self._deltas.feed(_plain(response.output))
        return delta, _plain(response.usage), str(response.request_id or "")

    async def aclose(self) -> None:
        """Close the connection, if the call is still running."""
        session, self._session = self._session, None
        if session is None:
            return
        await session.close()
        # Read on into the closed connection: the error ends the SDK's generators from within, one
        # after the other. Closing the outermost would leave the others to the event loop.
        leaving = _Clean.leaving.set(True)
        try:
            while True:
                await self._responses.__anext__()
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - it has been left
            pass
        finally:
            _Clean.leaving.reset(leaving)


def adapter(secrets: tuple[str, ...]) -> ClientAdapter:
    """How DashScope's events and errors are read."""
    _Clean.secrets.update(secrets)

    def classify_error(error: BaseException, state: CallState) -> Failure:
        return _classified(scrub(error, secrets), state)

    return ClientAdapter(_inspect, classify_error)


def _inspect(event: Event) -> tuple[int | None, bool]:
    delta = event[0]
    holds = bool(delta.text or delta.reasoning or delta.tools)
    return len(delta.text) if holds else None, delta.finish_reason is not None


def _classified(error: BaseException, state: CallState) -> Failure:
    if isinstance(error, DashScopeError):
        transient = error.status_code in _TRANSIENT_STATUS or error.status_code >= 500
        # The SDK gives every error that comes as an event the status 400.
        transient = transient or error.code.startswith(_TRANSIENT_CODES)
        return Failure(error, transient, error.retry_after)
    if isinstance(error, TokenweirError):
        return Failure(error, type(error) is StreamError)
    if isinstance(error, (aiohttp.ConnectionTimeoutError, aiohttp.SocketTimeoutError)):
        return Failure(state.timeout_error("connect"), True)
    return Failure(
        error, isinstance(error, (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError))
    )


def _plain(value: Any) -> Any:
    """The SDK's dict-like objects as dicts."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


class _Connector(aiohttp.TCPConnector):
    def __init__(self, connect: float) -> None:
        super().__init__()
        self._connect_within = None if connect == float("inf") else connect

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        limited = aiohttp.ClientTimeout(
            total=timeout.total, sock_read=timeout.sock_read, sock_connect=self._connect_within
        )
        return await super().connect(req, traces, limited)


class _Pool:
    """Idle sessions of one event loop."""

    def __init__(self, incremental: bool, connect: float) -> None:
        self._line = _SMALL_LINE if incremental else _LINE
        self._connect = connect
        self._idle: list[Any] = []
        self._keeper: Any = None

    def take(self) -> Any:
        while self._idle:
            session = self._idle.pop()
            if not session.closed:
                return session
        return aiohttp.ClientSession(
            connector=_Connector(self._connect), trust_env=True, read_bufsize=self._line
        )

    def give_back(self, session: Any) -> None:
        self._idle.append(session)

    async def start(self) -> None:
        if self._keeper is not None:
            return
        # Loops close the async generators that were started in them before they end.
        self._keeper = self._keep()
        await self._keeper.__anext__()

    async def _keep(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            while self._idle:
                await self._idle.pop().close()


_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, _Pool]] = WeakKeyDictionary()
_lock = threading.Lock()


def _pool_of(loop: asyncio.AbstractEventLoop, incremental: bool, connect: float) -> _Pool:
    with _lock:
        for dead in [other for other in _pools if other.is_closed()]:
            # Sessions refer to their loop, so it would never be collected by itself.
            del _pools[dead]
        pools = _pools.setdefault(loop, {})
        return pools.setdefault((incremental, connect), _Pool(incremental, connect))


class _Clean(logging.Filter):
    """Removes keys from the SDK's log records, and drops records of calls that were left."""

    secrets: set[str] = set()  # noqa: RUF012 - of the whole process
    leaving: ContextVar[bool] = ContextVar("leaving", default=False)

    def filter(self, record: logging.LogRecord) -> bool:
        if self.leaving.get():
            return False
        message = record.getMessage()
        clean = scrub_text(message, self.secrets)
        if clean != message:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[1] is not None:
            scrub(record.exc_info[1], self.secrets)
        return True


logging.getLogger("dashscope").addFilter(_Clean())
