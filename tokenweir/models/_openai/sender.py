"""Sends a model's streamed requests: the first two by the openai SDK, others like them without it.

A model sends the same headers to the same address for ever; only the body changes. To make a
request anew costs the SDK and httpx2 more than to send it. So if the SDK made the same request
twice, the next ones are copies of it with their own bodies, and go straight to the transport.

An answer that is well (2xx) is read at once. Any other outcome is put before the SDK, as if the
request that it makes had had it. So its errors, redirects and log lines are its own.
"""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

import httpx2
import openai

__all__ = ["Sender", "outcome_for_the_sdk"]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_httpx_log = logging.getLogger("httpx2")
_sdk_log = logging.getLogger("openai")

_OWN = ("openai", "httpx2", __name__.partition(".")[0])
"""Packages whose functions send requests; a function of another one watches, or changes them."""

_outcomes: ContextVar[list[httpx2.Response | Exception] | None] = ContextVar(
    "tokenweir_outcomes", default=None
)


def outcome_for_the_sdk() -> httpx2.Response | None:
    """The response that the SDK's next request has had already, or its error raised; else None."""
    outcomes = _outcomes.get()
    if not outcomes:
        return None
    outcome = outcomes.pop()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@dataclass(frozen=True)
class _Made:
    """A request that the SDK has made.

    Attributes:
        like: What it was made of besides its body.
        request: The request without its body.
    """

    like: tuple[Any, ...]
    request: httpx2.Request


class Sender:
    """Sends the streamed requests of one client of the SDK, each once.

    Args:
        client: The SDK's client.
        http: Its HTTP client, an ``AsyncHttpClient``; None if it is the caller's own, or if each
            request may have another key: then all go by the SDK.

    Attributes:
        known: What the SDK has made twice in a row, and is copied from then on.
    """

    def __init__(self, client: openai.AsyncOpenAI, http: Any) -> None:
        self._client = client
        self._http = http
        self._last: _Made | None = None
        self.known: _Made | None = None

    async def send(self, path: str, body: dict[str, Any], options: dict[str, Any]) -> Any:
        """Send a request, and wait for the head of the response.

        Args:
            path: Below the client's base URL.
            body: The request's.
            options: Of the SDK's ``post``.

        Returns:
            The ``httpx2.Response``, whose body is not read.
        """
        by_sdk = partial(self._by_sdk, path, body, options)
        like, content = self._like_of(path, options), _encoded(body, options)
        if like is None or content is None:
            return await by_sdk()
        known = self.known
        if known is not None and known.like == like:
            return await self._repeat(known.request, content, by_sdk)
        response = await by_sdk()
        self._learn(like, response, content)
        return response

    def _by_sdk(self, path: str, body: Any, options: dict[str, Any]) -> Any:
        client = self._client
        if "timeout" not in options:
            options = {**options, **_without_read(client.timeout, options.get("headers"))}
        kwargs: Any = {"body": body, "options": options, "cast_to": httpx2.Response}
        return client.post(path, stream=True, **kwargs)

    def _like_of(self, path: str, options: dict[str, Any]) -> Any:
        """What a request is made of besides its body; None if it has to be sent by the SDK."""
        client, http = self._client, self._http
        if http is None or any(http.event_hooks.values()) or _sdk_log.isEnabledFor(logging.DEBUG):
            return None
        headers = client.default_headers.items()
        given = {name: value for name, value in options.items() if name != "extra_json"}
        return (
            path,
            client.base_url,
            client.api_key,
            client.timeout,
            [header for header in headers if not isinstance(header[1], openai.Omit)],
            repr((given, client.default_query)),  # their owners may change what they hold
            (http.auth, http.headers.raw),
            (client.post, client.request, http.send),
            (openai.AsyncOpenAI.post, openai.AsyncOpenAI.request, httpx2.AsyncClient.send),
        )

    def _learn(self, like: tuple[Any, ...], response: httpx2.Response, content: bytes) -> None:
        """Keep what the SDK has made, unless it is of another kind than it seems."""
        request, before = response.request, self._last
        self._last = None
        methods = [getattr(method, "__func__", method) for method in (*like[-2], *like[-1])]
        if (
            not response.history
            and request.method == "POST"
            and request.content == content
            and all(map(_is_own, methods))
        ):
            made = self._last = _Made(like, _without_body(request))
            if before is not None and before.like == like and _alike(before.request, made.request):
                self.known = made

    async def _repeat(self, made: httpx2.Request, content: bytes, by_sdk: Any) -> Any:
        """Send a request with this body; the SDK is asked if it does not go well."""
        http = self._http
        request = httpx2.Request(
            "POST",
            made.url,
            headers=made.headers,
            cookies=http.cookies or None,
            stream=httpx2.ByteStream(content),
            extensions=made.extensions,
        )
        request.headers["Content-Length"] = str(len(content))
        request.read()
        outcomes: list[httpx2.Response | Exception]
        try:
            response: httpx2.Response = await http.send_past_httpx(request)
        except Exception as error:  # noqa: BLE001 - the SDK says what it means
            outcomes = [error]
        else:
            if response.is_success:
                _log(response)
                return response
            outcomes = [response]
        token = _outcomes.set(outcomes)
        try:
            return await by_sdk()
        finally:
            _outcomes.reset(token)
            for left in outcomes:
                if isinstance(left, httpx2.Response):
                    await left.aclose()


def _encoded(body: dict[str, Any], options: dict[str, Any]) -> bytes | None:
    """The body as the SDK encodes it; None for what only the SDK can encode, or refuse."""
    extra = options.get("extra_json")
    try:
        return _encode(body if extra is None else {**body, **extra}).encode()
    except (TypeError, ValueError):
        return None


def _log(response: httpx2.Response) -> None:
    """As httpx2 does."""
    _httpx_log.info(
        'HTTP Request: %s %s "%s %d %s"',
        response.request.method,
        response.request.url,
        response.http_version,
        response.status_code,
        response.reason_phrase,
    )


def _is_own(function: Any) -> bool:
    return (
        type(function) is FunctionType
        and function.__globals__["__name__"].partition(".")[0] in _OWN
    )


def _alike(one: httpx2.Request, other: httpx2.Request) -> bool:
    return (one.url, one.headers, one.extensions) == (other.url, other.headers, other.extensions)


def _without_body(request: httpx2.Request) -> httpx2.Request:
    """A request without what belongs to its body, and without cookies, which change."""
    headers = [
        (name, value)
        for name, value in request.headers.raw
        if name.lower() not in (b"content-length", b"cookie")
    ]
    return httpx2.Request(
        request.method,
        request.url,
        headers=headers,
        stream=httpx2.ByteStream(b""),
        extensions=request.extensions,
    )


def _without_read(timeout: Any, headers: Any) -> dict[str, Any]:
    """Options by which only the provider is told of the limit for reading.

    Whoever reads the response waits by tokens; the HTTP client would set a timer per packet.
    """
    parts = timeout if isinstance(timeout, httpx2.Timeout) else httpx2.Timeout(timeout)
    unread = httpx2.Timeout(connect=parts.connect, read=None, write=parts.write, pool=parts.pool)
    read = parts.read if isinstance(timeout, httpx2.Timeout) else timeout
    told = {} if read is None else {"x-stainless-read-timeout": str(read)}
    return {"timeout": unread, "headers": {**told, **(headers or {})}}
