"""Completion models by name: ``completion_model("openai:gpt-3.5-turbo-instruct", tags=["song"])``.

A ``CompletionModel`` is ``langchain_openai.OpenAI``, which continues a text instead of answering a
conversation, with four additions: it can be made once, at module level, and used from any event
loop and thread; leaving its stream closes the provider's connection; it reports usage; and it
streams when it is called in a graph that is being streamed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_openai import OpenAI

from tokenweir.errors import ModelNameError
from tokenweir.models._openai.managed import EmbeddedModel, ManagedModel, make_model
from tokenweir.models.providers import parse_model_name
from tokenweir.streaming.flow_control import find_flow_control

__all__ = ["CompletionModel", "LocalCompletionModel", "completion_model"]


class CompletionModel(ManagedModel, OpenAI):
    """``langchain_openai.OpenAI`` whose calls work from any event loop and thread, within limits.

    Attributes:
        stream_usage: Ask for the usage at the end of a stream, unless the endpoint rejects that.
    """

    stream_usage: bool | None = None

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

    def _parameters(self) -> dict[str, Any]:
        """The parameters of every request of this model."""
        params = {**self.asdict()}
        del params["_type"]
        return {"model": params.pop("model_name"), **params}

    def _asked(self, prompt: str, stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        params = {**self._parameters(), **kwargs, "stream": True}
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
        """Whether one of Tokenweir's streams takes this call's tokens. (Chat models check this
        themselves.)

        Several prompts are one request, and a stream could not tell their answers apart.
        """
        return (
            run_manager is not None
            and find_flow_control(run_manager.handlers) is not None
            and "nostream" not in run_manager.tags
            and len(prompts) == 1
            and _one_answer({**self._parameters(), **kwargs})
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


class LocalCompletionModel(EmbeddedModel, CompletionModel):
    """A completion model that llama.cpp runs on this machine, started by the first call."""


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
    parsed = parse_model_name(name)
    made = make_model(parsed, tags, kwargs, CompletionModel, LocalCompletionModel)
    if made is not None:
        return made
    raise ModelNameError(
        f"{parsed} has no completions here: give openai:MODEL (with base_url=... for any server "
        "that has /v1/completions), qwen:MODEL or local:smollm2; or use chat_model"
    )


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
