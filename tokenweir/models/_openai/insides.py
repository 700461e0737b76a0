"""All contact of this room with private names of langchain-openai and LangGraph.

What is assumed, each with a test:

- langchain-openai resolves socket options, and builds HTTP clients for a proxy, with the functions
  imported here.
- ``_agenerate_with_cache`` and ``_generate_with_cache`` make one call, after the run has begun:
  they ask the cache, wait for the rate limiter, and stream if ``_should_stream`` says so and
  ``_should_use_protocol_streaming`` does not, handing on what
  ``_convert_chunk_to_generation_chunk`` makes of each event of ``_get_request_payload``'s request.
- A resource of the openai SDK keeps its client as ``_client``, and everything that a client asks
  goes through its ``request(cast_to, options, stream=..., stream_cls=...)``.
- An SDK client joins its ``base_url`` and a path in ``_prepare_url``.
- ``post`` of the SDK's clients is ``request`` with ``FinalRequestOptions.construct(...)``, of which
  a copy can be given another ``json_data``.
- The openai SDK's response over aiohttp keeps aiohttp's own in ``stream._stream``.
- aiohttp's parser hands a body on by ``feed_data`` and ``end_http_chunk_receiving`` of a
  ``StreamReader``, which keeps who waits for bytes as ``_waiter``. At the end it takes that off and
  calls its ``set_result`` or ``set_exception``, unless it is ``done()``. Its ``_cursor`` counts the
  bytes that were read. An instance can be made one of a subclass.
- The SDK's streams read their events from their ``_iter_events()``, once they are iterated.
- LangGraph runs an async node under ``arun_with_retry``, whose first argument is the task, with
  the node's name.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import lru_cache
from inspect import signature
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai
from langchain_core.globals import get_llm_cache
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI, OpenAI
from openai.types.chat import ChatCompletion

logger = logging.getLogger(__name__)

try:
    from langchain_openai.chat_models._client_utils import (
        _build_proxied_async_httpx_client,
        _build_proxied_sync_httpx_client,
        _resolve_socket_options,
        _should_bypass_socket_options_for_proxy_env,
    )
    from langchain_openai.chat_models.base import (
        _handle_openai_api_error,
        _handle_openai_bad_request,
    )

    _KNOWN = True
except ImportError as error:  # a langchain-openai that moved its rooms
    _KNOWN = False
    logger.warning("tokens take the slow path with this langchain-openai: %s", error)

__all__ = [
    "Arrivals",
    "aiohttp_body",
    "aiohttp_transport",
    "ask",
    "async_http_client",
    "call_at_done",
    "client_of",
    "converter",
    "events_request",
    "is_openais_own",
    "raise_langchains",
    "remember_urls",
    "running_node",
    "step_aside",
    "sync_http_client",
]


def client_of(resource: Any) -> Any:
    """The client that a resource (``client.completions``) belongs to."""
    return resource._client


def remember_urls(client: Any) -> None:
    """Have a client of the SDK join its base URL and a path once, not for each request."""
    join = getattr(client, "_prepare_url", None)
    if join is None:
        return
    known: dict[str, tuple[Any, Any]] = {}

    def remembered(path: str) -> Any:
        base = client.base_url
        found = known.get(path)
        if found is None or found[0] is not base:
            if len(known) >= _KNOWN_PATHS:
                known.clear()
            found = known[path] = (base, join(path))
        return found[1]

    client._prepare_url = remembered


_KNOWN_PATHS = 16


def is_openais_own(client: Any) -> bool:
    """Whether a client of the openai SDK talks to OpenAI, and not to a compatible server."""
    host = urlsplit(str(client.base_url)).hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")


def _socket_options(model: ChatOpenAI | OpenAI) -> Any:
    given = getattr(model, "http_socket_options", None)
    if _should_bypass_socket_options_for_proxy_env(
        http_socket_options=given,
        http_client=None,
        http_async_client=None,
        openai_proxy=model.openai_proxy,
    ):
        return ()
    return _resolve_socket_options(given)


@lru_cache(maxsize=4)
def _ssl_context(*environment: str | None) -> ssl.SSLContext:
    """What clients trust; reading the certificates takes some 30 ms, so all share it."""
    return httpx2.create_ssl_context()


def _trusted() -> ssl.SSLContext:
    return _ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


def async_http_client(model: ChatOpenAI | OpenAI) -> Any:
    """A fresh HTTP client like the one that ChatOpenAI would share between all its models.

    Over aiohttp, which reads at a third of the cost, unless socket options are asked for.
    """
    if not _KNOWN or getattr(model, "http_socket_options", None) is None:
        return openai.DefaultAioHttpClient(proxy=model.openai_proxy, verify=_trusted())
    options = _socket_options(model)
    if model.openai_proxy:
        return _build_proxied_async_httpx_client(model.openai_proxy, _trusted(), options)
    transport = httpx2.AsyncHTTPTransport(
        verify=_trusted(), socket_options=options, limits=openai.DEFAULT_CONNECTION_LIMITS
    )
    return openai.DefaultAsyncHttpxClient(transport=transport)


def sync_http_client(model: ChatOpenAI | OpenAI) -> Any:
    """As ``async_http_client``, for sync calls."""
    options = _socket_options(model) if _KNOWN else ()
    if not options:
        return openai.DefaultHttpxClient(proxy=model.openai_proxy, verify=_trusted())
    if model.openai_proxy:
        return _build_proxied_sync_httpx_client(model.openai_proxy, _trusted(), options)
    transport = httpx2.HTTPTransport(
        verify=_trusted(),
        socket_options=options,
        limits=openai.DEFAULT_CONNECTION_LIMITS,
    )
    return openai.DefaultHttpxClient(transport=transport)


def aiohttp_body(response: Any) -> aiohttp.StreamReader | None:
    """The body of a response as aiohttp reads it; None if it came another way."""
    body = getattr(_aiohttps(response), "content", None)
    return body if isinstance(body, aiohttp.StreamReader) else None


def aiohttp_transport(response: Any) -> asyncio.Transport | None:
    """The connection of a response that is still coming over aiohttp; None if there is none."""
    connection = getattr(_aiohttps(response), "connection", None)
    transport = None if connection is None else connection.transport
    return None if transport is None or transport.is_closing() else transport


class Arrivals:
    """Gives the bytes of a body away as they arrive, and wakes no task for them.

    It stands where aiohttp keeps the future of a task that waits for bytes.

    Args:
        body: Which nobody else reads meanwhile.
        take: Called in the event loop with the next bytes; when it says False, what comes after
            them waits in the body as ever. It must not raise.
        over: Called when the body has ended or failed.
    """

    __slots__ = ("_body", "_over", "take")

    def __init__(
        self, body: aiohttp.StreamReader, take: Callable[[bytes], bool], over: Callable[[], None]
    ) -> None:
        self._body: Any = body
        self._over = over
        self.take = take

    @staticmethod
    def possible(body: aiohttp.StreamReader) -> bool:
        """Whether this aiohttp has the insides for it, and nobody reads."""
        return type(body) in (aiohttp.StreamReader, _GivenAway) and (
            getattr(body, "_waiter", body) is None and hasattr(body, "_cursor")
        )

    def start(self) -> None:
        """Begin; only when all that has come was read."""
        self._body.__class__ = _GivenAway
        self._body._waiter = self

    def stop(self) -> None:
        """Let what comes wait in the body."""
        if self._body._waiter is self:
            self._body._waiter = None

    # What aiohttp asks of a future

    def done(self) -> bool:
        return False

    def set_result(self, result: None) -> None:
        self._over()

    def set_exception(self, error: BaseException) -> None:
        self._over()


class _GivenAway(aiohttp.StreamReader):
    """A body whose bytes ``Arrivals`` may give away: past its buffer, and the ends of HTTP chunks.

    Not read by the reader's own methods at this moment: those have the parser go on, in which we
    are.
    """

    __slots__ = ()
    _waiter: Any

    def feed_data(self, data: bytes, *size: int) -> Any:
        arrivals = self._waiter
        if type(arrivals) is not Arrivals:
            return super().feed_data(data, *size)
        self.total_bytes += len(data)
        self._cursor += len(data)
        if data and not arrivals.take(data):
            arrivals.stop()
        return False

    def end_http_chunk_receiving(self) -> None:
        if type(self._waiter) is not Arrivals:
            super().end_http_chunk_receiving()


def _aiohttps(response: Any) -> Any:
    return getattr(getattr(response.stream, "_stream", None), "_aiohttp_response", None)


def call_at_done(stream: Any, done: Callable[[], object]) -> None:
    """Have ``done`` called when the provider ends one of the SDK's streams with ``[DONE]``.

    The SDK ends a stream alike whether the provider said so or its connection was closed.
    """
    events = getattr(stream, "_iter_events", None)
    if isinstance(stream, openai.AsyncStream) and events is not None:

        async def seen() -> AsyncIterator[Any]:
            async for event in events():
                if event.data.startswith("[DONE]"):
                    done()
                yield event

        stream._iter_events = seen  # type: ignore[method-assign]
    elif isinstance(stream, openai.Stream) and events is not None:

        def seen_sync() -> Iterator[Any]:
            for event in events():
                if event.data.startswith("[DONE]"):
                    done()
                yield event

        stream._iter_events = seen_sync  # type: ignore[method-assign]


def running_node() -> str | None:
    """The name of the LangGraph node that this coroutine is running in, if it is in one.

    Read from the stack: before Python 3.11 a node's context does not reach what it calls, which
    is just when one wants to know.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "arun_with_retry":
            return getattr(frame.f_locals.get("task"), "name", None)
        frame = frame.f_back
    return None


def step_aside(model: ChatOpenAI, run_manager: Any, kwargs: dict[str, Any], is_async: bool) -> str:
    """Why LangChain must make this call itself; "" if its events may be read here."""
    if not _KNOWN:
        return "this langchain-openai has other insides"
    if run_manager is None:
        return "the call has no run"
    if model.cache not in (None, False) or (model.cache is None and get_llm_cache() is not None):
        return "answers are cached"
    if model.rate_limiter is not None:
        return "the rate is limited"
    if model.output_version == "v1":
        return "the output version is v1"
    if model.include_response_headers or model._uses_gateway:
        return "response headers are asked for"
    if model._should_use_protocol_streaming(async_api=is_async, run_manager=run_manager, **kwargs):
        return "the run is streamed by LangChain's event protocol"
    if not model._should_stream(async_api=is_async, run_manager=run_manager, **kwargs):
        return "the call is not streamed"
    if model._use_responses_api({**kwargs, **model.model_kwargs}):
        return "the Responses API is used"
    return ""


def events_request(
    model: ChatOpenAI, messages: Any, stop: Any, kwargs: dict[str, Any]
) -> dict[str, Any] | str:
    """The arguments of ``client.post`` for a streamed call; or why LangChain must make it."""
    kwargs = {**kwargs, "stream": True}
    usage = model._should_stream_usage(kwargs.pop("stream_usage", None), **kwargs)
    if usage:
        kwargs["stream_options"] = {"include_usage": usage}
    payload = model._get_request_payload(messages, stop=stop, **kwargs)
    if "response_format" in payload:
        return "the answer is structured"
    if (payload.get("n") or 1) != 1:
        return "more than one answer is asked for"
    options: dict[str, Any] = {**_PLAIN_OPTIONS}
    for name, option in _EXTRAS.items():
        if name in payload:
            given = payload.pop(name)
            if given is not None:
                options[option] = given
    if unknown := payload.keys() - _PARAMETERS:
        return f"the openai SDK does not know {', '.join(sorted(unknown))}"
    return {"path": _PATH, "body": payload, "options": options}


def ask(client: Any, request: dict[str, Any], stream_cls: Any) -> Any:
    """Make a request of ``events_request``: the stream, or of an async client what to await for it.

    As ``client.post`` does, but the options of a request without any of its own are copied.
    """
    options, body = request["options"], request["body"]
    if _PLAIN is None or options != _PLAIN_OPTIONS or not _all_given(body):
        return client.post(**request, cast_to=ChatCompletion, stream=True, stream_cls=stream_cls)
    plain = _PLAIN.model_copy(update={"json_data": body})
    return client.request(ChatCompletion, plain, stream=True, stream_cls=stream_cls)


def _all_given(body: dict[str, Any]) -> bool:
    return not any(isinstance(value, (openai.NotGiven, openai.Omit)) for value in body.values())


def _plain_options() -> Any:
    """The openai SDK's options of a streamed chat request, as its ``post`` makes them."""
    try:
        from openai._models import FinalRequestOptions

        made: Any = FinalRequestOptions.construct(
            method="post", url=_PATH, json_data=None, content=None, files=None, **_PLAIN_OPTIONS
        )
    except Exception:  # noqa: BLE001 - whatever a new SDK may raise
        return None
    return made


_PATH = "/chat/completions"
_PLAIN_OPTIONS: Any = {"security": {"bearer_auth": True}}
_PLAIN = _plain_options()

_EXTRAS = {
    "extra_headers": "headers",
    "extra_query": "params",
    "extra_body": "extra_json",
    "timeout": "timeout",
}
_PARAMETERS = signature(openai.resources.chat.Completions.create).parameters.keys()


def converter(model: ChatOpenAI) -> Callable[..., ChatGenerationChunk | None]:
    """LangChain's conversion of an event: ``convert(event, class of the chunk before it)``."""
    return lambda event, default=AIMessageChunk: model._convert_chunk_to_generation_chunk(
        event, default, {}
    )


def raise_langchains(error: openai.APIError) -> NoReturn:
    """Raise an error of the openai SDK as langchain-openai does."""
    if isinstance(error, openai.BadRequestError):
        _handle_openai_bad_request(error)
    else:
        _handle_openai_api_error(error)
    raise error
