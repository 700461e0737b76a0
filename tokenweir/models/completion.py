"""Completion models by name: ``completion_model("openai:gpt-3.5-turbo-instruct", tags=["song"])``.

A ``CompletionModel`` is ``langchain_openai.OpenAI``, which continues a text instead of answering a
conversation. Beyond it: it can be made once, at module level, and used from any event loop and
thread; leaving its stream closes the provider's connection; it reports usage; and called in a
graph that is being streamed, it streams.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_openai import OpenAI
from pydantic import PrivateAttr, SecretStr, model_validator
from typing_extensions import Self

from tokenweir.errors import ModelNameError
from tokenweir.models._calls.limits import Limits
from tokenweir.models._calls.state import CallState
from tokenweir.models._openai import http_clients
from tokenweir.models._openai.adapter import add_retries, add_retries_sync, error_classifier
from tokenweir.models._openai.transport import PerLoopClient, leave_when_the_reader_goes
from tokenweir.models.chat import UNSTARTED
from tokenweir.models.providers import openai_arguments, parse_model_name, qwen_arguments
from tokenweir.models.secrets import hidden_headers, secrets_of
from tokenweir.streaming.flow_control import find_flow_control

__all__ = ["CompletionModel", "LocalCompletionModel", "completion_model"]


class CompletionModel(Limits, OpenAI):
    """``langchain_openai.OpenAI`` whose calls work from any event loop and thread, within limits.

    Attributes:
        stream_usage: Ask for the usage at the end of a stream; None asks OpenAI's own endpoint.
    """

    stream_usage: bool | None = None

    _provider: str = PrivateAttr(default="openai")
    _root_client: Any = PrivateAttr(default=None)
    _root_async_client: Any = PrivateAttr(default=None)

    @model_validator(mode="after")
    def validate_environment(self) -> Self:
        """Make the clients as OpenAI does, and put ours in the place of its defaults."""
        given = self.http_async_client is not None or self.async_client is not None
        given_sync = self.http_client is not None or self.client is not None
        retried, retried_sync = self.async_client is None, self.client is None
        super().validate_environment()  # type: ignore[operator]
        self._root_client = http_clients.client_of(self.client)
        self._root_async_client = http_clients.client_of(self.async_client)
        policy = self.call_policy(timeout=self.request_timeout, retries=self.max_retries)
        timeout = self.http_timeout(policy)
        if not given:
            http = PerLoopClient(lambda: http_clients.async_http_client(self))
            self._root_async_client = self._root_async_client.with_options(http_client=http)
        if not given_sync:
            sync_http = leave_when_the_reader_goes(http_clients.sync_http_client(self))
            self._root_client = self._root_client.with_options(http_client=sync_http)
        secrets = secrets_of(self.openai_api_key, *(self.default_headers or {}).values())
        classify = error_classifier(secrets)

        def new_state() -> CallState:
            return CallState(policy, self._provider, self.model_name)

        if retried:
            add_retries(self._root_async_client, new_state, classify, timeout)
            self.async_client = self._root_async_client.completions
        if retried_sync:
            add_retries_sync(self._root_client, new_state, classify, timeout)
            self.client = self._root_client.completions
        if self.stream_usage is None:
            self.stream_usage = http_clients.is_openais_own(self._root_async_client)
        return self

    def __repr_args__(self) -> Any:
        """As OpenAI, but headers may hold keys."""
        for name, value in super().__repr_args__():
            yield name, hidden_headers(value) if name == "default_headers" else value

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        with self.client.create(prompt=prompt, **self._asked(prompt, stop, kwargs)) as response:
            for data in response:
                chunk = _converted(data)
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, **_told(chunk, self.verbose))
                yield chunk

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        asked = self._asked(prompt, stop, kwargs)
        async with await self.async_client.create(prompt=prompt, **asked) as response:
            async for data in response:
                chunk = _converted(data)
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, **_told(chunk, self.verbose))
                yield chunk

    def _asked(self, prompt: str, stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        params = {**self._invocation_params, **kwargs, "stream": True}
        if not _one_answer(params):
            raise ValueError("a stream carries one completion: leave n and best_of at 1")
        self.get_sub_prompts(params, [prompt], stop)  # puts the stop words into params
        if self.stream_usage:
            params.setdefault("stream_options", {"include_usage": True})
        return params

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        if self.streaming or not self._is_watched(prompts, run_manager, kwargs):
            return super()._generate(prompts, stop, run_manager, **kwargs)
        return self._whole(list(self._stream(prompts[0], stop, run_manager, **kwargs)))

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        if self.streaming or not self._is_watched(prompts, run_manager, kwargs):
            return await super()._agenerate(prompts, stop, run_manager, **kwargs)
        chunks = self._astream(prompts[0], stop, run_manager, **kwargs)
        return self._whole([chunk async for chunk in chunks])

    def _is_watched(self, prompts: list[str], run_manager: Any, kwargs: dict[str, Any]) -> bool:
        """Whether a stream of ours waits for this call's tokens, as chat models ask by themselves.

        Several prompts are one request, whose answers no stream could tell apart.
        """
        return (
            run_manager is not None
            and find_flow_control(run_manager.handlers) is not None
            and "nostream" not in run_manager.tags
            and len(prompts) == 1
            and _one_answer({**self._invocation_params, **kwargs})
        )

    def _whole(self, chunks: list[GenerationChunk]) -> LLMResult:
        info: dict[str, Any] = {"finish_reason": None, "logprobs": None}
        for chunk in chunks:
            info.update({k: v for k, v in (chunk.generation_info or {}).items() if v is not None})
        usage = info.pop("usage_metadata", None)
        made = Generation(text="".join(chunk.text for chunk in chunks), generation_info=info)
        output: dict[str, Any] = {"token_usage": {}, "model_name": self.model_name}
        if usage:
            output["token_usage"] = {
                "prompt_tokens": usage["input_tokens"],
                "completion_tokens": usage["output_tokens"],
                "total_tokens": usage["total_tokens"],
            }
        return LLMResult(generations=[[made]], llm_output=output)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self._provider
        return params

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Serialised by its own name, it could not be read back by LangChain."""
        return False


class LocalCompletionModel(CompletionModel):
    """A completion model that llama.cpp runs on this machine, started on first use."""

    _gguf: str = PrivateAttr(default="smollm2")

    def _start(self) -> None:
        from tokenweir.models.embedded.model import point_at

        point_at(self._gguf, self._root_client, self._root_async_client)

    async def _astart(self) -> None:
        await asyncio.to_thread(self._start)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[GenerationChunk]:
        self._start()
        yield from super()._stream(*args, **kwargs)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[GenerationChunk]:
        await self._astart()
        chunks = super()._astream(*args, **kwargs)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    # LangChain hands run_manager on only to signatures that name it.
    def _generate(
        self, prompts: list[str], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> LLMResult:
        self._start()
        return super()._generate(prompts, stop, run_manager, **kwargs)

    async def _agenerate(
        self, prompts: list[str], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> LLMResult:
        await self._astart()
        return await super()._agenerate(prompts, stop, run_manager, **kwargs)


def completion_model(
    name: str, *, tags: Sequence[str] | None = None, **kwargs: Any
) -> CompletionModel:
    """A LangChain completion model by its name.

    Args:
        name: ``openai:gpt-3.5-turbo-instruct``, or any model of a server with ``/v1/completions``
            (vLLM, llama.cpp, Ollama ...) and ``base_url=``; ``local:smollm2`` for the embedded
            model, ``local:/path/model.gguf`` for another one; ``qwen:qwen-coder-plus``.
        tags: Tags that every chunk of this model carries in its metadata; filter by them.
        **kwargs: Whatever ``langchain_openai.OpenAI`` takes.

    Raises:
        ModelNameError: If the provider has no completions, or its key is missing.
    """
    if isinstance(tags, str):
        raise TypeError(f"tags takes a list of names: tags=[{tags!r}]")
    parsed = parse_model_name(name)
    if tags is not None:
        kwargs["tags"] = list(tags)
    if parsed.provider == "openai":
        return CompletionModel(model=parsed.model, **openai_arguments(parsed.model, kwargs))
    if parsed.provider == "qwen":
        arguments = {"stream_usage": True, **qwen_arguments(parsed.model, kwargs)}
        made = CompletionModel(model=parsed.model, **arguments)
        made._provider = "qwen"
        return made
    if parsed.provider == "local":
        return _local(parsed.model, kwargs)
    raise ModelNameError(
        f"{parsed} has no completions here: give openai:MODEL (with base_url=... for any server "
        "that has /v1/completions), qwen:MODEL or local:smollm2; or use chat_model"
    )


def _local(model: str, kwargs: dict[str, Any]) -> LocalCompletionModel:
    settings = {
        "base_url": UNSTARTED,
        "api_key": SecretStr("none"),
        "stream_usage": True,
        **kwargs,
    }
    # The rest of a path is nobody's business.
    made = LocalCompletionModel(model=os.path.basename(model), **settings)  # noqa: PTH119
    made._gguf = model
    made._provider = "llama.cpp"
    return made


def _one_answer(params: dict[str, Any]) -> bool:
    return (params.get("n") or 1) == 1 and (params.get("best_of") or 1) == 1


def _told(chunk: GenerationChunk, verbose: bool) -> dict[str, Any]:
    logprobs = (chunk.generation_info or {}).get("logprobs")
    return {"chunk": chunk, "verbose": verbose, "logprobs": logprobs}


def _converted(response: Any) -> GenerationChunk:
    """One event of the completions protocol as LangChain's chunk."""
    data = response if isinstance(response, dict) else response.model_dump()
    info: dict[str, Any] = {}
    text = ""
    if choices := data.get("choices"):
        choice = choices[0]
        text = choice.get("text") or ""
        info = {"finish_reason": choice.get("finish_reason"), "logprobs": choice.get("logprobs")}
        if info["finish_reason"]:
            info["model_name"] = data.get("model")
    if usage := data.get("usage"):
        info["usage_metadata"] = UsageMetadata(
            input_tokens=usage.get("prompt_tokens") or 0,
            output_tokens=usage.get("completion_tokens") or 0,
            total_tokens=usage.get("total_tokens") or 0,
        )
    return GenerationChunk(text=text, generation_info=info or None)
