"""Streamed chat requests, as langchain-openai and the openai SDK would make them.

Private names used: ``_agenerate_with_cache`` and ``_generate_with_cache`` make one call, after the
run has begun: they ask the cache, wait for the rate limiter, and stream if ``_should_stream`` is
true and ``_should_use_protocol_streaming`` is not. They then pass on the chunks that
``_convert_chunk_to_generation_chunk`` makes from each event of ``_get_request_payload``'s request.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, NoReturn

import httpx2
import openai
from langchain_core.globals import get_llm_cache
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI

from tokenweir.models._openai.clients import AsyncOpenAI, without_refused
from tokenweir.models._openai.parser import EventError
from tokenweir.models._openai.reasoning import REASONING_HOOKS

try:
    from langchain_openai.chat_models.base import (
        _handle_openai_api_error,
        _handle_openai_bad_request,
    )
except ImportError:
    _RAISES = False
else:
    _RAISES = True

__all__ = [
    "chunk_timeout_of",
    "converter",
    "events_request",
    "leave_stream",
    "missing_names",
    "raise_as_sdk",
    "raise_langchains",
    "send",
    "step_aside",
]


def missing_names() -> list[str]:
    """The required private names that this langchain-openai does not have."""
    hooks = ("_agenerate_with_cache", "_generate_with_cache", *REASONING_HOOKS)
    missing = [name for name in hooks if not hasattr(ChatOpenAI, name)]
    return missing if _RAISES else [*missing, "_handle_openai_api_error"]


def chunk_timeout_of(model: ChatOpenAI) -> float | None:
    """``stream_chunk_timeout`` if it was set explicitly; None for LangChain's default.

    The default would cut off models that think for longer, which ``first_token_timeout`` allows.
    """
    given = model.stream_chunk_timeout
    by_argument = "stream_chunk_timeout" in model.model_fields_set
    return given if by_argument or given != _DEFAULT_CHUNK_TIMEOUT else None


_DEFAULT_CHUNK_TIMEOUT = 120.0


def step_aside(model: ChatOpenAI, run_manager: Any, kwargs: dict[str, Any], is_async: bool) -> str:
    """Why LangChain must make this call itself; "" if its events may be read here."""
    if run_manager is None:
        return "the call has no run"
    if model.cache not in (None, False) or (model.cache is None and get_llm_cache() is not None):
        return "answers are cached"
    if model.rate_limiter is not None:
        return "the rate is limited"
    if model._should_use_protocol_streaming(async_api=is_async, run_manager=run_manager, **kwargs):
        return "the run is streamed by LangChain's event protocol"
    if not model._should_stream(async_api=is_async, run_manager=run_manager, **kwargs):
        return "the call is not streamed"
    return leave_stream(model, kwargs, is_async)


def leave_stream(model: ChatOpenAI, kwargs: dict[str, Any], is_async: bool) -> str:
    """Why LangChain must read the events of a streamed call itself; "" if it need not."""
    if model.output_version == "v1":
        return "the output version is v1"
    if is_async and chunk_timeout_of(model):
        return "the gap between chunks is LangChain's to limit"
    if model.include_response_headers or model._uses_gateway:
        return "response headers are asked for"
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
    options: dict[str, Any] = {"security": {"bearer_auth": True}}
    for name, option in _EXTRAS.items():
        if name in payload:
            given = payload.pop(name)
            if given is not None:
                options[option] = given
    if unknown := payload.keys() - _PARAMETERS:
        return f"the openai SDK does not know {', '.join(sorted(unknown))}"
    return {"path": _PATH, "body": payload, "options": options}


def send(client: Any, request: dict[str, Any]) -> Any:
    """Make a request of ``events_request``, once.

    Returns:
        The response, whose body is not read; of an async client, an awaitable of it.
    """
    request = {**request, "body": without_refused(client, request["body"])}
    if isinstance(client, AsyncOpenAI):
        return client.sender.send(**request)
    return client.post(**request, cast_to=httpx2.Response, stream=True)


_PATH = "/chat/completions"

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


def raise_as_sdk(error: httpx2.RequestError | EventError, response: Any) -> NoReturn:
    """Raise what the openai SDK raises for an error."""
    if isinstance(error, EventError):
        body = error.body
        raise openai.APIError(error.message, request=response.request, body=body) from None
    if isinstance(error, httpx2.TimeoutException):
        raise openai.APITimeoutError(request=response.request) from error
    raise openai.APIConnectionError(request=response.request) from error
