"""Sends a model's streamed requests: the first two by the openai SDK, others like them without it.

A model always sends the same headers to the same address; only the body changes. Making a request
costs the SDK and httpx2 more than sending it. So if the SDK made the same request twice, later ones
are copies of it with their own bodies, and go straight to the transport.

A successful response (2xx) is read at once. Any other outcome is passed to the SDK as the outcome
of a request that it makes, so that errors, redirects and log lines are the SDK's own.
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
"""Packages whose functions send requests; functions of others observe or change them."""

_outcomes: ContextVar[list[httpx2.Response | Exception] | None] = ContextVar(
    "tokenweir_outcomes", default=None
)


def outcome_for_the_sdk() -> httpx2.Response | None:
    """The outcome that the SDK's next request already has: its response, or its error (raised).
    None if it has none.
    """
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
        like: Everything that the request depends on, except its body.
        request: The request without its body.
    """

    like: tuple[Any, ...]
    request: httpx2.Request


class Sender:
    """Sends the streamed requests of one client of the SDK, each once.

    Args:
        client: The SDK's client.
        http: Its HTTP client, an ``AsyncHttpClient``. None sends all requests through the SDK: if
            the client is the user's own, or if each request may have another key.

    Attributes:
        known: The request that the SDK has made twice in a row, and that is copied from then on.
    """

    def __init__(self, client: openai.AsyncOpenAI, http: Any) -> None:
        self._client = client
        self._http = http
        self._last: _Made | None = None
        self.known: _Made | None = None

    async def send(self, path: str, body: dict[str, Any], options: dict[str, Any]) -> Any:
        """Send a request, and wait for the head of the response.

        Args:
            path: The path below the client's base URL.
            body: The request's body.
            options: The options of the SDK's ``post``.

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
        """What a request depends on besides its body; None if the SDK has to send it."""
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
            repr((given, client.default_query)),  # their owners may change their contents
            (http.auth, http.headers.raw),
            (client.post, client.request, http.send),
            (openai.AsyncOpenAI.post, openai.AsyncOpenAI.request, httpx2.AsyncClient.send),
        )

    def _learn(self, like: tuple[Any, ...], response: httpx2.Response, content: bytes) -> None:
        """Store the request that the SDK has made, unless it cannot be copied."""
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
        """Send a request with this body; if it does not succeed, let the SDK handle it."""
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
    """The body as the SDK encodes it; None if only the SDK can encode or reject it."""
    extra = options.get("extra_json")
    try:
        return _encode(body if extra is None else {**body, **extra}).encode()
    except (TypeError, ValueError):
        return None


def _log(response: httpx2.Response) -> None:
    """Log a request as httpx2 does."""
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
    """A request without the headers of its body, and without cookies, which change."""
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
    """Options that send the read timeout to the provider but do not apply it.

    The reader of the response limits the wait for tokens; the HTTP client would set a timer per
    packet.
    """
    parts = timeout if isinstance(timeout, httpx2.Timeout) else httpx2.Timeout(timeout)
    unread = httpx2.Timeout(connect=parts.connect, read=None, write=parts.write, pool=parts.pool)
    read = parts.read if isinstance(timeout, httpx2.Timeout) else timeout
    told = {} if read is None else {"x-stainless-read-timeout": str(read)}
    return {"timeout": unread, "headers": {**told, **(headers or {})}}
