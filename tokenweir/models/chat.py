"""Chat models by name: ``chat_model("openai:gpt-4o-mini", tags=["joke"])``.

A ``ChatModel`` is ``ChatOpenAI`` in every respect but three: it can be made once, at module level,
and used from any event loop and thread; it keeps the reasoning of OpenAI-compatible endpoints; and
it has limits for connecting, for the first token and for the gap between tokens.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables.config import RunnableConfig, ensure_config
from pydantic import PrivateAttr, SecretStr, model_validator
from typing_extensions import Self

from tokenweir.errors import ModelNameError
from tokenweir.models._calls.limits import Limits
from tokenweir.models._calls.policy import CallPolicy
from tokenweir.models._calls.state import CallState, Failure
from tokenweir.models._openai import http_clients
from tokenweir.models._openai.adapter import add_retries, add_retries_sync, error_classifier
from tokenweir.models._openai.streamed_calls import StreamedCalls
from tokenweir.models._openai.transport import PerLoopClient, leave_when_the_reader_goes
from tokenweir.models.providers import (
    PACKAGES,
    ModelName,
    dashscope_arguments,
    default_model_name,
    openai_arguments,
    parse_model_name,
    qwen_arguments,
)
from tokenweir.models.reasoning import keep_reasoning
from tokenweir.models.secrets import hidden_headers, secrets_of
from tokenweir.streaming._langgraph import config_propagation
from tokenweir.streaming._langgraph.config_propagation import CONFIG_TRAVELS, warn_lost

__all__ = ["ChatModel", "LocalChatModel", "chat_model", "default_model_name"]


class ChatModel(Limits, StreamedCalls):
    """``ChatOpenAI`` whose calls work from any event loop and thread, within limits.

    HTTP clients that were passed in are used as they are; then their rules hold.
    """

    _provider: str = PrivateAttr(default="openai")
    _policy: CallPolicy = PrivateAttr(default_factory=CallPolicy)
    _classify_error: Any = PrivateAttr(default=None)

    @model_validator(mode="after")
    def validate_environment(self) -> Self:
        """Make the clients as ChatOpenAI does, and put ours in the place of its shared defaults."""
        given = self.http_async_client is not None or self.async_client is not None
        given_sync = self.http_client is not None or self.client is not None
        retried, retried_sync = self.async_client is None, self.client is None
        super().validate_environment()  # type: ignore[operator]
        self._policy = self.call_policy(
            timeout=self.request_timeout,
            # LangChain's own limit, which knows neither a first token nor sync calls.
            gap=self.stream_chunk_timeout,
            retries=2 if self.max_retries is None else self.max_retries,
        )
        self.stream_chunk_timeout = None
        timeout = self.http_timeout(self._policy)
        if not given:
            http = PerLoopClient(lambda: http_clients.async_http_client(self))
            self.root_async_client = self.root_async_client.with_options(http_client=http)
        if not given_sync and self.root_client is not None:
            sync_http = leave_when_the_reader_goes(http_clients.sync_http_client(self))
            self.root_client = self.root_client.with_options(http_client=sync_http)
        secrets = secrets_of(self.openai_api_key, *(self.default_headers or {}).values())
        self._classify_error = error_classifier(secrets)
        new_state, classify = self.new_call_state, self._classify_error
        if retried:
            add_retries(self.root_async_client, new_state, classify, timeout)
            self.async_client = self.root_async_client.chat.completions
        if retried_sync and self.root_client is not None:
            add_retries_sync(self.root_client, new_state, classify, timeout)
            self.client = self.root_client.chat.completions
        return self

    def new_call_state(self) -> CallState:
        """The state of a new call of this model."""
        return CallState(self._policy, self._provider, self.model_name)

    def classify_error(self, error: BaseException, state: CallState) -> Failure:
        """What an error of the client means."""
        failure: Failure = self._classify_error(error, state)
        return failure

    def __repr_args__(self) -> Any:
        """As ChatOpenAI, but headers may hold keys."""
        for name, value in super().__repr_args__():
            yield name, hidden_headers(value) if name == "default_headers" else value

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

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: Any
    ) -> ChatGenerationChunk | None:
        made = super()._convert_chunk_to_generation_chunk(
            chunk, default_chunk_class, base_generation_info
        )
        if made is not None:
            choices = chunk.get("choices") or chunk.get("chunk", {}).get("choices")
            keep_reasoning(made.message, choices[0].get("delta") if choices else None)
        return made

    def _create_chat_result(self, response: Any, generation_info: Any = None) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        data = response if isinstance(response, dict) else response.model_dump(warnings=False)
        for made, choice in zip(result.generations, data["choices"], strict=True):
            keep_reasoning(made.message, choice["message"])
        return result

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self._provider
        return params

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Serialised by its own name, it could not be read back by LangChain."""
        return False


def _look_for_config(callbacks: Any, metadata: dict[str, Any] | None) -> None:
    """Warn if this call is made in a node whose config it was not given."""
    for known in (metadata, getattr(callbacks, "metadata", None)):
        if known and "langgraph_node" in known:
            return
    if name := config_propagation.running_node():
        warn_lost(name)


UNSTARTED = "http://127.0.0.1/v1"
"""The base URL of an embedded model until it has started."""


class LocalChatModel(ChatModel):
    """A chat model that llama.cpp runs on this machine, started on first use."""

    _gguf: str = PrivateAttr(default="smollm2")

    def _ready(self) -> None:
        self._start()

    async def _aready(self) -> None:
        await self._astart()

    def _start(self) -> None:
        from tokenweir.models.embedded.model import point_at

        point_at(self._gguf, self.root_client, self.root_async_client)

    async def _astart(self) -> None:
        await asyncio.to_thread(self._start)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        self._start()
        yield from super()._stream(*args, **kwargs)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        await self._astart()
        chunks = super()._astream(*args, **kwargs)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        self._start()
        return super()._generate(*args, **kwargs)

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        await self._astart()
        return await super()._agenerate(*args, **kwargs)


def chat_model(
    name: str | None = None, *, tags: Sequence[str] | None = None, **kwargs: Any
) -> BaseChatModel:
    """A LangChain chat model by its name.

    Args:
        name: ``openai:gpt-4o-mini``, or any model of an OpenAI-compatible server with
            ``base_url=`` (vLLM, llama.cpp, Ollama ...); ``local:smollm2`` for the embedded model,
            ``local:/path/model.gguf`` for another one; ``qwen:qwen-plus`` by DashScope's
            compatible endpoint, ``dashscope:qwen-plus`` by its own protocol, both with
            ``region="intl"`` outside mainland China; any other ``provider:model`` of LangChain's
            ``init_chat_model``. Without a name: ``default_model_name()``.
        tags: Tags that every chunk of this model carries in its metadata; filter by them.
        **kwargs: Whatever the model's class takes: ``ChatModel`` for the first three, and what
            LangChain has for the last.

    Raises:
        ModelNameError: If the provider is unknown, or its key or its package is missing.
    """
    if isinstance(tags, str):
        raise TypeError(f"tags takes a list of names: tags=[{tags!r}]")
    parsed = parse_model_name(name)
    if os.environ.get("TOKENWEIR_OTEL"):
        from tokenweir.models.tracing import instrument

        instrument()
    if tags is not None:
        kwargs["tags"] = list(tags)
    if parsed.provider == "openai":
        return ChatModel(model=parsed.model, **openai_arguments(parsed.model, kwargs))
    if parsed.provider == "qwen":
        defaults = {"stream_usage": True}
        made = ChatModel(model=parsed.model, **defaults | qwen_arguments(parsed.model, kwargs))
        made._provider = "qwen"
        return made
    if parsed.provider == "local":
        return _local(parsed.model, **kwargs)
    if parsed.provider == "dashscope":
        return _dashscope(parsed.model, kwargs)
    return _of_langchain(parsed, kwargs)


def _local(model: str, **kwargs: Any) -> LocalChatModel:
    settings = {
        "base_url": UNSTARTED,
        "api_key": SecretStr("none"),
        "stream_usage": True,
        **kwargs,
    }
    # The rest of a path is nobody's business.
    made = LocalChatModel(model=os.path.basename(model), **settings)  # noqa: PTH119
    made._gguf = model
    made._provider = "llama.cpp"
    return made


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
