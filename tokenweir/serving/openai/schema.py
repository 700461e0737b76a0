"""Requests and responses of OpenAI's chat protocol.

Unknown fields, such as sampling parameters, are ignored. A field that a request may omit may also
be null.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import UNSET, Meta, Struct, UnsetType

from tokenweir.serving.fields import said

__all__ = [
    "ChatRequest",
    "Choice",
    "Completion",
    "Function",
    "Message",
    "Model",
    "Models",
    "Said",
    "StreamOptions",
    "ToolCall",
    "Usage",
]

_Count: TypeAlias = Annotated[int, Meta(ge=0)]
_Never: TypeAlias = Annotated[
    None, said("Omit it: a graph decides this itself, and answers in one format.")
]
_NoList: TypeAlias = Annotated[
    Annotated[list[Any], Meta(max_length=0)] | None,
    said("Omit it: a graph has its own tools."),
]


class Model(Struct, kw_only=True):
    """A graph, or the tokens of one of its tags."""

    id: str
    object: Literal["model"] = "model"
    created: Annotated[int, said("Seconds since 1970.")]
    owned_by: str = "tokenweir"


class Models(Struct, kw_only=True):
    """Every graph, and every `graph:tag` that is known."""

    object: Literal["list"] = "list"
    data: list[Model]


class Function(TypedDict):
    """A function, and its arguments as JSON."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    """A tool call of a model."""

    id: str | None
    type: Literal["function"]
    function: Function


class _Role(TypedDict):
    role: Literal["system", "developer", "user", "assistant", "tool"]


class Message(_Role, total=False):
    """A message of a conversation. Only the assistant's `content` may be null."""

    content: Annotated[
        str | list[dict[str, Any]] | None,
        said("Text, or parts: `{type: text, text}` and others that the models accept."),
    ]
    name: str | None
    tool_calls: list[ToolCall] | None
    tool_call_id: str | None
    refusal: str | None
    reasoning_content: str | None


class StreamOptions(Struct, kw_only=True):
    """Options of the stream."""

    include_usage: bool | None = False


class ChatRequest(Struct, kw_only=True):
    """A conversation to continue."""

    model: Annotated[str, said("A graph's name, or `graph:tag`.")]
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Annotated[Literal[1] | None, said("A graph gives one answer.")] = None
    tools: _NoList = None
    functions: _NoList = None
    response_format: _Never = None
    audio: _Never = None
    prediction: _Never = None


class Said(Struct, kw_only=True):
    """The answer of the graph's models."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class Choice(Struct, kw_only=True):
    """The only answer."""

    index: Literal[0] = 0
    message: Said
    logprobs: None = None
    finish_reason: str


class Usage(TypedDict):
    """Tokens of all model calls."""

    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count


class Completion(Struct, kw_only=True):
    """An answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | UnsetType = UNSET
