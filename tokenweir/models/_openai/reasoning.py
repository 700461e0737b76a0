"""Chat models that keep the reasoning of OpenAI-compatible servers, which ChatOpenAI drops.

Reasoning models behind OpenAI's chat protocol (DeepSeek, Qwen, vLLM, llama.cpp, OpenRouter) send
it as ``reasoning_content`` or ``reasoning`` beside ``content``. It is kept where LangChain's other
integrations keep it, in ``additional_kwargs["reasoning_content"]``, so that ``content`` stays a
string. ``message.content_blocks`` shows it, because messages of such a server have ``PROVIDER`` as
their ``model_provider``, for which Tokenweir registers a translator in LangChain.

Private names used: ``_convert_chunk_to_generation_chunk`` and ``_create_chat_result``, the methods
that LangChain's own subclasses of ChatOpenAI override for the same reason, and
``_get_generation_chunk_from_completion``, which calls the latter for the end of a stream of JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.messages.block_translators import get_translator, register_translator
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI

from tokenweir.models.reasoning import reasoning_in

__all__ = ["PROVIDER", "REASONING_HOOKS", "KeepsReasoning"]

PROVIDER = "openai-compatible"
"""The ``model_provider``, which has to be the same in all chunks of a message."""


REASONING_HOOKS = (
    "_convert_chunk_to_generation_chunk",
    "_create_chat_result",
    "_get_generation_chunk_from_completion",
)
"""The methods overridden here. If one is missing, reasoning is lost, or kept twice."""


class KeepsReasoning(ChatOpenAI):
    """``ChatOpenAI`` whose messages hold the reasoning of compatible servers."""

    @property
    def _is_openais(self) -> bool:
        """Whether OpenAI itself answers. Its chat protocol never shows reasoning."""
        raise NotImplementedError

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: Any
    ) -> ChatGenerationChunk | None:
        made = super()._convert_chunk_to_generation_chunk(
            chunk, default_chunk_class, base_generation_info
        )
        if made is not None and not self._is_openais:
            choices = chunk.get("choices") or chunk.get("chunk", {}).get("choices")
            _keep(made.message, choices[0].get("delta") if choices else None)
            if "model_provider" in made.message.response_metadata:
                made.message.response_metadata["model_provider"] = PROVIDER
        return made

    def _create_chat_result(self, response: Any, generation_info: Any = None) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        if not self._is_openais:
            data = response if isinstance(response, dict) else response.model_dump(warnings=False)
            for made, choice in zip(result.generations, data["choices"], strict=True):
                _keep(made.message, choice["message"])
            result.llm_output = {**(result.llm_output or {}), "model_provider": PROVIDER}
        return result

    def _get_generation_chunk_from_completion(self, completion: Any) -> ChatGenerationChunk:
        made = super()._get_generation_chunk_from_completion(completion)
        # It ends a stream of JSON, whose chunks already had the reasoning.
        made.message.additional_kwargs.pop("reasoning_content", None)
        return made


def _keep(message: Any, data: Any) -> None:
    """Put the reasoning of ``data`` into the message that LangChain made from it."""
    if isinstance(message, AIMessage) and (found := reasoning_in(data)):
        message.additional_kwargs["reasoning_content"] = found


def _with_reasoning(translate: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    def translated(message: Any) -> list[Any]:
        blocks = translate(message)
        found = reasoning_in(message.additional_kwargs)
        if found and not any(block.get("type") == "reasoning" for block in blocks):
            blocks = [{"type": "reasoning", "reasoning": found}, *blocks]
        return blocks

    return translated


# Without a translator LangChain parses messages on a best-effort basis, and finds reasoning too.
if _theirs := get_translator("openai"):
    register_translator(
        PROVIDER,
        _with_reasoning(_theirs["translate_content"]),
        _with_reasoning(_theirs["translate_content_chunk"]),
    )
