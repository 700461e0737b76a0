"""``write_tokens``: streams the answer of a client without LangChain as ``(chunk, metadata)``.

It is for nodes that call the ``openai`` client themselves and stream with ``stream_mode="custom"``.
The chunks equal those that LangChain would make of the same answer.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Sequence,
)
from typing import Any, overload

from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.runnables.config import RunnableConfig, var_child_runnable_config
from langgraph.config import get_config, get_stream_writer

from tokenweir.errors import StreamError, TokenweirError
from tokenweir.models.reasoning import reasoning_in
from tokenweir.streaming.any_stream import ReadyIterator, close_stream, complete
from tokenweir.streaming.calls import CallMetadata
from tokenweir.streaming.flow_control import wait_for_reader
from tokenweir.types import Metadata

__all__ = ["write_tokens"]

Writer = Callable[[Any], None]


@overload
def write_tokens(
    response: AsyncIterable[Any] | Awaitable[AsyncIterable[Any]],
    writer: Writer | None = None,
    config: RunnableConfig | None = None,
    *,
    tags: Sequence[str] = (),
) -> Coroutine[Any, Any, AIMessage]: ...


@overload
def write_tokens(
    response: Iterable[Any],
    writer: Writer | None = None,
    config: RunnableConfig | None = None,
    *,
    tags: Sequence[str] = (),
) -> AIMessage: ...


def write_tokens(
    response: Any,
    writer: Writer | None = None,
    config: RunnableConfig | None = None,
    *,
    tags: Sequence[str] = (),
) -> Any:
    """Write the tokens of a streamed chat completion as they come, and return the whole message.

    ::

        response = client.chat.completions.create(model=..., messages=..., stream=True)
        message = await write_tokens(response, writer, config, tags=["joke"])

    Args:
        response: What ``create(..., stream=True)`` of ``OpenAI`` or ``AsyncOpenAI`` returned,
            awaited or not; or any iterable of such chunks, as objects or as dicts. It is always
            closed.
        writer: The node's ``writer``; by default that of the running node.
        config: The node's ``config``; by default that of the running node.
        tags: Tags for this call's metadata, to filter by.

    Returns:
        The whole message, awaitable for an async response. It is the sum of the written chunks.

    Raises:
        StreamError: If the response fails. The tokens before the failure have been written.
        TokenweirError: If writer or config are left out and cannot be found.
    """
    if inspect.isawaitable(response) or hasattr(response, "__aiter__"):
        return _write(response, writer, config, tags)
    return complete(_write(response, writer, config, tags, blocking=True))


async def _write(
    response: Any,
    writer: Writer | None,
    config: RunnableConfig | None,
    tags: Sequence[str],
    *,
    blocking: bool = False,
) -> AIMessage:
    answer: _Answer | None = None
    try:
        answer = _Answer(writer, config, tags)
        if inspect.isawaitable(response):
            awaited, response = response, None
            try:
                response = await awaited
            except Exception as error:
                raise answer.failed(error) from error
        _check(response, "__iter__" if blocking else "__aiter__")
        chunks: AsyncIterator[Any] = ReadyIterator(response) if blocking else aiter(response)
        while True:
            try:
                item = await anext(chunks)
            except StopAsyncIteration:
                return answer.message()
            except Exception as error:
                raise answer.failed(error) from error
            if answer.take(item):
                await wait_for_reader(answer.config, blocking=blocking)
    finally:
        await close_stream(response)


def _check(response: Any, method: str) -> None:
    # A whole completion is iterable, too, and yields its fields.
    if isinstance(response, str) or hasattr(response, "choices") or not hasattr(response, method):
        raise TypeError(
            "write_tokens takes a streamed response (create(..., stream=True)), "
            f"not {type(response).__name__}"
        )


class _Answer:
    """The answer of one call: its metadata, and the chunks so far."""

    def __init__(
        self, writer: Writer | None, config: RunnableConfig | None, tags: Sequence[str]
    ) -> None:
        if isinstance(tags, str):
            raise TypeError(f"tags takes a list of names: tags=[{tags!r}]")
        try:
            self.writer = writer if writer is not None else get_stream_writer()
            self.config = config if config is not None else get_config()
        except RuntimeError as error:
            raise TokenweirError(
                "write_tokens cannot find the node it is called in: take `writer` and `config` in "
                "the node and pass them on, write_tokens(response, writer, config)"
            ) from error
        self.metadata: Metadata = CallMetadata(
            {
                **self.config.get("metadata", {}),
                "ls_provider": "openai",
                "ls_model_type": "chat",
                "tags": list(tags),
            }
        )
        self.chunks: list[AIMessageChunk] = []
        self.characters = 0

    def take(self, item: Any) -> bool:
        """Write one chunk of the answer, and return whether it had content."""
        if not isinstance(item, dict) and not hasattr(item, "model_dump"):
            raise TypeError(
                "write_tokens takes chunks as the openai client gives them, or dicts like them, "
                f"not {type(item).__name__}"
            )
        data = item if isinstance(item, dict) else item.model_dump()
        if "ls_model_name" not in self.metadata and data.get("model"):
            self.metadata["ls_model_name"] = data["model"]
        chunk = _converted(data)
        if chunk is None:
            return False
        self.chunks.append(chunk)
        self.characters += len(chunk.content)
        self._write((chunk, self.metadata))
        return True

    def _write(self, part: Any) -> None:
        if var_child_runnable_config.get() is not None:
            self.writer(part)
            return
        # LangGraph's writer looks up the config in a context variable. It is not set in an async
        # node on Python 3.10, nor in a thread that the node started.
        token = var_child_runnable_config.set(self.config)
        try:
            self.writer(part)
        finally:
            var_child_runnable_config.reset(token)

    def message(self) -> AIMessage:
        """The whole answer."""
        if not self.chunks:
            return AIMessage(content="")
        first, *rest = self.chunks
        whole = message_chunk_to_message(first + rest if rest else first)
        assert isinstance(whole, AIMessage)
        return whole

    def failed(self, error: Exception) -> StreamError:
        """A StreamError that describes this call."""
        return StreamError(
            f"{type(error).__name__}: {error}",
            provider="openai",
            model=self.metadata.get("ls_model_name"),
            node=self.metadata.get("langgraph_node"),
            tags=tuple(self.metadata["tags"]),
            chunks=len(self.chunks),
            characters=self.characters,
        )


def _converted(data: dict[str, Any]) -> AIMessageChunk | None:
    """Convert a chunk of OpenAI's protocol to LangChain's; None if it holds nothing."""
    usage = _usage(data.get("usage"))
    choices = data.get("choices") or ()
    if not choices:
        if usage is None:
            return None
        return AIMessageChunk(content="", id=data.get("id"), usage_metadata=usage)
    if len(choices) > 1 or choices[0].get("index"):
        raise ValueError("write_tokens streams one answer: ask for n=1")
    choice = choices[0]
    delta = choice.get("delta") or {}
    extra = {}
    if thought := reasoning_in(delta):
        extra["reasoning_content"] = thought
    if delta.get("refusal"):
        extra["refusal"] = delta["refusal"]
    metadata: dict[str, Any] = {"model_provider": "openai"}
    if choice.get("finish_reason"):
        metadata["finish_reason"] = choice["finish_reason"]
        metadata["model_name"] = data.get("model")
        for field in ("system_fingerprint", "service_tier"):
            if data.get(field):
                metadata[field] = data[field]
    if choice.get("logprobs"):
        metadata["logprobs"] = choice["logprobs"]
    calls = [
        tool_call_chunk(
            name=(call.get("function") or {}).get("name"),
            args=(call.get("function") or {}).get("arguments"),
            id=call.get("id"),
            index=call.get("index"),
        )
        for call in delta.get("tool_calls") or ()
    ]
    return AIMessageChunk(
        content=delta.get("content") or "",
        id=data.get("id"),
        additional_kwargs=extra,
        response_metadata=metadata,
        tool_call_chunks=calls,
        usage_metadata=usage,
    )


def _usage(usage: dict[str, Any] | None) -> UsageMetadata | None:
    if not usage:
        return None
    asked, said = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    total = usage.get("total_tokens")
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    read = {"audio": "audio_tokens", "cache_read": "cached_tokens"}
    written = {"audio": "audio_tokens", "reasoning": "reasoning_tokens"}
    return UsageMetadata(
        input_tokens=asked,
        output_tokens=said,
        total_tokens=asked + said if total is None else total,
        input_token_details=_known(prompt, read),
        output_token_details=_known(completion, written),
    )


def _known(details: dict[str, Any], names: dict[str, str]) -> Any:
    return {
        ours: details[theirs] for ours, theirs in names.items() if details.get(theirs) is not None
    }
