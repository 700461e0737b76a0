"""Chat models that use DashScope's own protocol: ``chat_model("dashscope:qwen-plus")``.

``qwen:qwen-plus`` reaches the same models over OpenAI's protocol, without the SDK. Use this one for
features of DashScope's own protocol, and for endpoints that speak no other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import (
    agenerate_from_stream,
    generate_from_stream,
)
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    convert_to_openai_messages,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, SecretStr

from tokenweir.models._calls.limits import Limits
from tokenweir.models._calls.state import CallState
from tokenweir.models._calls.streams import AsyncRetryingStream
from tokenweir.models.dashscope._portal import iterate
from tokenweir.models.dashscope.cumulative import Delta
from tokenweir.models.secrets import secrets_of

__all__ = ["DashScopeChatModel"]

_PARAMETERS = (
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "seed",
    "stop",
    "enable_thinking",
    "thinking_budget",
)


class DashScopeChatModel(Limits, BaseChatModel):
    """A chat model behind DashScope's own protocol. Every call is streamed internally.

    Attributes:
        model_name: ``qwen-plus`` ...
        api_key: DashScope's key.
        base_url: ``https://dashscope.aliyuncs.com/api/v1``, or another region's.
        incremental_output: Ask for events that hold only the new part instead of everything so
            far. The chunks are the same.
        enable_thinking: Turn thinking on or off, for a model that supports both.
        model_kwargs: Any other parameter of DashScope's text generation.
        max_retries: How often a call that failed before its first token is retried.
    """

    model_config = ConfigDict(populate_by_name=True)

    model_name: str = Field(alias="model")
    api_key: SecretStr
    base_url: str
    incremental_output: bool = True
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: list[str] | None = None
    enable_thinking: bool | None = None
    thinking_budget: int | None = None
    timeout: float | None = None
    max_retries: int = 2
    model_kwargs: dict[str, Any] = Field(default_factory=dict)

    @property
    def _llm_type(self) -> str:
        return "dashscope"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "dashscope"
        params["ls_model_name"] = kwargs.get("model", self.model_name)
        return params

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model_name": self.model_name, "incremental_output": self.incremental_output}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the model call these tools; ``tool_choice`` as for LangChain's other models."""
        made = [convert_to_openai_tool(tool) for tool in tools]
        if tool_choice:
            kwargs["tool_choice"] = _choice(tool_choice, made)
        return self.bind(tools=made, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        chunks = iterate(lambda: self._chunks(messages, stop, kwargs))
        try:
            for chunk in chunks:
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        finally:
            chunks.close()  # type: ignore[attr-defined]

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        chunks = self._chunks(messages, stop, kwargs)
        try:
            async for chunk in chunks:
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        finally:
            await chunks.aclose()

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, None, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, None, **kwargs))

    def _chunks(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> _Chunks:
        """The whole call as LangChain's chunks."""
        from tokenweir.models.dashscope import _sdk as sdk

        policy = self.call_policy(timeout=self.timeout, retries=self.max_retries)
        call = self._asked(messages, stop, kwargs)

        async def connect() -> Any:
            incremental = self.incremental_output
            made = sdk.Responses(incremental=incremental, connect=policy.connect, **call)
            return await made.open()

        state = CallState(policy, "dashscope", self.model_name)
        adapter = sdk.adapter(secrets_of(self.api_key))
        return _Chunks(lambda: AsyncRetryingStream.opened(connect, state, adapter), self.model_name)

    def _asked(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        said = convert_to_openai_messages(messages)
        assert isinstance(said, list)
        parameters = {name: getattr(self, name) for name in _PARAMETERS}
        parameters = {name: value for name, value in parameters.items() if value is not None}
        if stop is not None:
            parameters["stop"] = stop
        kwargs.pop("ls_structured_output_format", None)
        return {
            "model": self.model_name,
            "api_key": self.api_key.get_secret_value(),
            "base_address": self.base_url,
            "messages": [{**message, "content": message.get("content") or ""} for message in said],
            **parameters,
            **self.model_kwargs,
            **kwargs,
        }

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """LangChain could not read it back."""
        return False


class _Chunks(AsyncIterator[ChatGenerationChunk]):
    """The events of a call as LangChain's chunks; the usage comes once, at the end.

    This is not a generator: a loop that ends closes all generators at once, which fails for nested
    ones.
    """

    def __init__(self, open: Callable[[], Awaitable[Any]], model: str) -> None:
        self._open = open
        self._model = model
        self._events: Any = None
        self._usage: Mapping[str, Any] = {}

    async def __anext__(self) -> ChatGenerationChunk:
        if self._events is None:
            self._events = await self._open()
        try:
            while True:
                delta, counted, request_id = await self._events.__anext__()
                self._usage = counted or self._usage
                if delta:
                    message = _chunk(delta, self._model, request_id)
                    return ChatGenerationChunk(message=message)
        except StopAsyncIteration:
            if not self._usage:
                raise
            usage, self._usage = _usage(self._usage), {}
            return ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=usage))

    async def aclose(self) -> None:
        if self._events is not None:
            await self._events.aclose()


def _chunk(delta: Delta, model: str, request_id: str) -> AIMessageChunk:
    extra = {"reasoning_content": delta.reasoning} if delta.reasoning else {}
    metadata: dict[str, Any] = {"model_provider": "dashscope"}
    if delta.finish_reason:
        metadata |= {
            "finish_reason": delta.finish_reason,
            "model_name": model,
            "request_id": request_id,
        }
    calls = [
        tool_call_chunk(name=tool.name, args=tool.arguments, id=tool.id, index=tool.index)
        for tool in delta.tools
    ]
    return AIMessageChunk(
        content=delta.text,
        additional_kwargs=extra,
        response_metadata=metadata,
        tool_call_chunks=calls,
    )


def _usage(usage: Mapping[str, Any]) -> UsageMetadata:
    into, out = int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0)
    counted = UsageMetadata(
        input_tokens=into,
        output_tokens=out,
        total_tokens=int(usage.get("total_tokens") or into + out),
    )
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    if cached is not None:
        counted["input_token_details"] = {"cache_read": cached}
    reasoning = (usage.get("output_tokens_details") or {}).get("reasoning_tokens")
    if reasoning is not None:
        counted["output_token_details"] = {"reasoning": reasoning}
    return counted


def _choice(given: str | dict[str, Any] | bool, tools: list[dict[str, Any]]) -> Any:
    """A tool choice as DashScope takes it: "auto", "none", or one function."""
    names = [tool["function"]["name"] for tool in tools]
    if given is True or given in ("any", "required"):
        if len(names) != 1:
            raise ValueError("DashScope cannot require some tool of several: name one, or auto")
        given = names[0]
    if isinstance(given, dict) or given in ("auto", "none"):
        return given
    return {"type": "function", "function": {"name": given}}
