"""The openai SDK's clients, with Tokenweir's timeouts and retries.

The SDK's own retries are not used: they end when the response begins, but a connection may break
after that and before the first token. If an endpoint rejects a request for token usage
(``stream_options``), later requests leave it out.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any

import httpx2
import openai
from pydantic import SecretStr

from tokenweir.models._calls.retries import with_retries, with_retries_sync
from tokenweir.models._calls.state import CallState, ClientAdapter
from tokenweir.models._calls.streams import AsyncRetryingStream, RetryingStream
from tokenweir.models._openai import http_clients
from tokenweir.models._openai.sender import Sender

__all__ = [
    "AsyncOpenAI",
    "CallRules",
    "OpenAI",
    "call_when_done",
    "make_clients",
    "without_refused",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CallRules:
    """The rules of a model's calls.

    Attributes:
        new_state: Makes the state of a call.
        adapter: How events and errors are read.
        prepare: Called before each call; blocks until the model can be called.
    """

    new_state: Callable[[], CallState]
    adapter: ClientAdapter
    prepare: Callable[[], None] | None = None


def _is_raw(cast_to: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a raw streamed response is requested, whose reader handles limits and retries."""
    return cast_to is httpx2.Response and bool(kwargs.get("stream"))


_REFUSES_USAGE = set[str]()
"""The URLs of endpoints that reject ``stream_options``; later requests leave it out."""


def without_refused(client: Any, body: Any) -> Any:
    """A request's body, without ``stream_options`` if the endpoint rejects it."""
    if not _REFUSES_USAGE or not isinstance(body, dict) or "stream_options" not in body:
        return body
    if str(client.base_url) not in _REFUSES_USAGE:
        return body
    return {name: value for name, value in body.items() if name != "stream_options"}


def _without_refused(client: Any, options: Any) -> Any:
    """The same for the SDK's options of a request."""
    body = without_refused(client, options.json_data)
    changed = body is not options.json_data
    return options.model_copy(update={"json_data": body}) if changed else options


def _asks_for_usage(options: Any) -> bool:
    return isinstance(options.json_data, dict) and "stream_options" in options.json_data


def _refuses_usage(client: Any, options: Any, error: openai.APIStatusError) -> bool:
    """Whether an error rejects ``stream_options``; if so, remember the endpoint."""
    if error.status_code not in (400, 422) or "stream_options" not in str(error):
        return False
    if not _asks_for_usage(options):
        return False
    _REFUSES_USAGE.add(str(client.base_url))
    logger.warning(
        "%s rejects stream_options: later calls do not ask it for token usage", client.base_url
    )
    return True


class AsyncOpenAI(openai.AsyncOpenAI):  # its name goes into the User-Agent
    """The SDK's client with a model's rules; a copy of it has the SDK's own rules.

    A streamed request for a plain ``httpx2.Response`` is not retried.
    """

    rules: CallRules | None = None
    sender: Sender

    async def prepare(self) -> None:
        """Wait until the model can be called."""
        if self.rules is not None and self.rules.prepare is not None:
            await asyncio.to_thread(self.rules.prepare)

    async def request(self, cast_to: Any, options: Any, **kwargs: Any) -> Any:
        """As the SDK does, within limits and with retries."""
        rules, request = self.rules, super().request

        async def call() -> Any:
            sent = _without_refused(self, options)
            try:
                return await request(cast_to, sent, **kwargs)
            except openai.APIStatusError as error:
                if not _refuses_usage(self, sent, error):
                    raise
            return await request(cast_to, _without_refused(self, options), **kwargs)

        if rules is None or _is_raw(cast_to, kwargs):
            return await call()
        await self.prepare()
        state = rules.new_state()
        if kwargs.get("stream"):
            return await AsyncRetryingStream.opened(call, state, rules.adapter)
        return await with_retries(call, state, rules.adapter.classify_error)


class OpenAI(openai.OpenAI):
    """Like ``AsyncOpenAI``, for sync calls."""

    rules: CallRules | None = None

    def prepare(self) -> None:
        """Block until the model can be called."""
        if self.rules is not None and self.rules.prepare is not None:
            self.rules.prepare()

    def request(self, cast_to: Any, options: Any, **kwargs: Any) -> Any:
        """As the SDK does, within limits and with retries."""
        rules, request = self.rules, super().request

        def call() -> Any:
            sent = _without_refused(self, options)
            try:
                return request(cast_to, sent, **kwargs)
            except openai.APIStatusError as error:
                if not _refuses_usage(self, sent, error):
                    raise
            return request(cast_to, _without_refused(self, options), **kwargs)

        if rules is None or _is_raw(cast_to, kwargs):
            return call()
        self.prepare()
        state = rules.new_state()
        if kwargs.get("stream"):
            return RetryingStream.opened(call, state, rules.adapter)
        return with_retries_sync(call, state, rules.adapter.classify_error)


def make_clients(
    model: Any,
    rules: CallRules,
    timeout: httpx2.Timeout | None,
    http_client: Any,
    http_async_client: Any,
) -> tuple[OpenAI | None, AsyncOpenAI]:
    """A model's clients, made from its public fields.

    Args:
        model: A ``ChatOpenAI`` or ``OpenAI``, whose keys, addresses and headers they use.
        rules: The rules of its calls.
        timeout: The HTTP client's timeout; None for the model's ``timeout=``.
        http_client: The user's HTTP client, or None to make one.
        http_async_client: The same for async calls.

    Returns:
        The sync client, or None if the model's key comes from an async function; and the async one.
    """
    arguments: dict[str, Any] = {
        "organization": model.openai_organization,
        "base_url": model.openai_api_base,
        "timeout": model.request_timeout if timeout is None else timeout,
        "default_headers": model.default_headers,
        "default_query": model.default_query,
        "max_retries": 0,  # the rules retry
    }
    key: Any = model.openai_api_key
    if isinstance(key, SecretStr):
        key = key.get_secret_value()
    own_http = None if http_async_client else http_clients.async_http_client(model)
    made_async = AsyncOpenAI(
        **arguments,
        api_key=_async_key(key) if callable(key) else key,
        http_client=http_async_client or own_http,
    )
    made_async.rules = rules
    made_async.sender = Sender(made_async, None if callable(key) else own_http)
    if iscoroutinefunction(key):
        return None, made_async
    made = OpenAI(
        **arguments,
        api_key=key,
        http_client=http_client or http_clients.sync_http_client(model),
    )
    made.rules = rules
    return made, made_async


def _async_key(key: Callable[[], Any]) -> Callable[[], Awaitable[str]]:
    if iscoroutinefunction(key):
        return key

    async def in_thread() -> str:
        return str(await asyncio.to_thread(key))

    return in_thread


def call_when_done(stream: Any, done: Callable[[], object]) -> None:
    """Call ``done`` when the provider ends one of the SDK's streams with ``[DONE]``.

    The SDK itself does not distinguish this from a closed connection.
    """
    if isinstance(stream, (openai.AsyncStream, openai.Stream)):
        stream.response.stream = _WatchedBody(stream.response.stream, done)


class _WatchedBody(httpx2.AsyncByteStream, httpx2.SyncByteStream):
    """The body of a response, async or sync, which reports the end mark when it passes."""

    def __init__(self, body: Any, done: Callable[[], object]) -> None:
        self._body = body
        self._done = done
        self._tail = b"\n"

    def _look(self, data: bytes) -> bytes:
        recent = self._tail + data
        if _END_MARK.search(recent):
            self._done()
        self._tail = recent[-16:]
        return data

    def __iter__(self) -> Iterator[bytes]:
        for data in self._body:
            yield self._look(data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._body:
            yield self._look(data)

    def close(self) -> None:
        self._body.close()

    async def aclose(self) -> None:
        await self._body.aclose()


_END_MARK = re.compile(rb"[\r\n]data: ?\[DONE\]")
