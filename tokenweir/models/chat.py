"""Chat models by name: ``chat_model("openai:gpt-4o-mini", tags=["joke"])``.

A ``ChatModel`` is ``ChatOpenAI`` in every respect but three: it can be made once, at module level,
and used from any event loop and thread; it keeps the reasoning of OpenAI-compatible endpoints; and
it has limits for connecting, for the first token and for the gap between tokens.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, LLMResult
from langchain_core.runnables.config import RunnableConfig, ensure_config

from tokenweir.errors import ModelNameError
from tokenweir.models._openai.managed import EmbeddedModel, ManagedModel, make_model
from tokenweir.models._openai.probe import probe
from tokenweir.models._openai.reasoning import KeepsReasoning
from tokenweir.models._openai.requests import chunk_timeout_of
from tokenweir.models._openai.streamed_calls import StreamedCalls
from tokenweir.models.providers import (
    PACKAGES,
    ModelName,
    dashscope_arguments,
    default_model_name,
    parse_model_name,
)
from tokenweir.streaming._langgraph import config_propagation
from tokenweir.streaming._langgraph.config_propagation import CONFIG_TRAVELS, warn_lost

__all__ = ["ChatModel", "LocalChatModel", "chat_model", "default_model_name"]


class ChatModel(ManagedModel, StreamedCalls, KeepsReasoning):
    """``ChatOpenAI`` whose calls work from any event loop and thread, within limits.

    HTTP clients passed in by the user are used unchanged, with their own limits.
    """

    def _difference(self) -> str | None:
        return probe()

    @property
    def _default_gap(self) -> float:
        off = "stream_chunk_timeout" in self.model_fields_set and not self.stream_chunk_timeout
        return 0.0 if off else super()._default_gap

    def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        """As ChatOpenAI, but ``stream_chunk_timeout`` only applies if it was set explicitly."""
        if (chunks := self._streamed_chunks(*args, **kwargs)) is not None:
            return chunks
        model = self
        if chunk_timeout_of(self) is None and self.stream_chunk_timeout is not None:
            model = self.model_copy(update={"stream_chunk_timeout": None})
        return super(ChatModel, model)._astream(*args, **kwargs)

    if not CONFIG_TRAVELS:

        async def agenerate_prompt(
            self, prompts: Any, stop: Any = None, callbacks: Any = None, **kwargs: Any
        ) -> LLMResult:
            """As ChatOpenAI, and warn if a node forgot to pass its config."""
            _look_for_config(callbacks, kwargs.get("metadata"))
            return await super().agenerate_prompt(prompts, stop, callbacks, **kwargs)

        def astream(
            self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
        ) -> AsyncIterator[AIMessageChunk]:
            """As ChatOpenAI, and warn if a node forgot to pass its config."""
            known = ensure_config(config)
            _look_for_config(known.get("callbacks"), known.get("metadata"))
            return super().astream(input, config, **kwargs)


def _look_for_config(callbacks: Any, metadata: dict[str, Any] | None) -> None:
    """Warn if this call is made in a node without the node's config."""
    for known in (metadata, getattr(callbacks, "metadata", None)):
        if known and "langgraph_node" in known:
            return
    if name := config_propagation.running_node():
        warn_lost(name)


class LocalChatModel(EmbeddedModel, ChatModel):
    """A chat model that llama.cpp runs on this machine, started by the first call."""


def chat_model(
    name: str | None = None, *, tags: Sequence[str] | None = None, **kwargs: Any
) -> BaseChatModel:
    """A LangChain chat model by its name.

    Args:
        name: ``openai:gpt-4o-mini``, or any model of an OpenAI-compatible server with
            ``base_url=`` (vLLM, llama.cpp, Ollama ...); ``local:smollm2`` for the embedded model,
            ``local:/path/model.gguf`` for another one; ``qwen:qwen-plus`` through DashScope's
            compatible endpoint, ``dashscope:qwen-plus`` through its own protocol, both with
            ``region="intl"`` outside mainland China; any other ``provider:model`` of LangChain's
            ``init_chat_model``. Without a name: ``TOKENWEIR_MODEL`` if it is set, else OpenAI's
            gpt-4o-mini if there is an ``OPENAI_API_KEY``, else the embedded model.
        tags: Tags that every chunk of this model carries in its metadata; filter by them.
        **kwargs: Arguments of the model's class: ``ChatModel`` for ``openai:``, ``local:`` and
            ``qwen:``, ``DashScopeChatModel`` for ``dashscope:``, else LangChain's own class.

    Raises:
        ModelNameError: If the provider is unknown, or its key or its package is missing.
    """
    parsed = parse_model_name(name)
    if os.environ.get("TOKENWEIR_OTEL"):
        from tokenweir.models.tracing import instrument

        instrument()
    made = make_model(parsed, tags, kwargs, ChatModel, LocalChatModel)
    if made is not None:
        return made
    if parsed.provider == "dashscope":
        return _dashscope(parsed.model, kwargs)
    return _of_langchain(parsed, kwargs)


def _dashscope(model: str, kwargs: dict[str, Any]) -> BaseChatModel:
    from tokenweir.models.dashscope import _sdk  # noqa: F401 - says what to install
    from tokenweir.models.dashscope.model import DashScopeChatModel

    return DashScopeChatModel(model=model, **dashscope_arguments(model, kwargs))


def _of_langchain(name: ModelName, kwargs: dict[str, Any]) -> BaseChatModel:
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise ModelNameError(
            f"{name} is reached by LangChain: pip install 'tokenweir[langchain]' "
            f"{PACKAGES[name.provider]}"
        ) from error
    try:
        made: BaseChatModel = init_chat_model(name.model, model_provider=name.provider, **kwargs)
    except ImportError as error:
        raise ModelNameError(
            f"{name} needs a package that is not installed: pip install {PACKAGES[name.provider]}"
        ) from error
    return made
