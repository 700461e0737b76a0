"""The requests of the AI SDK's routes. Unknown fields are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Struct

from tokenweir.serving.fields import said
from tokenweir.serving.running.records import Config

__all__ = ["ChatAsked", "UIMessage"]


class UIMessage(Struct, kw_only=True):
    """A message of the AI SDK, with the `parts` of `useChat`."""

    role: Literal["user", "assistant", "system"]
    id: str = ""
    parts: list[dict[str, Any]] = []


class ChatAsked(Struct, kw_only=True, rename="camel"):
    """The request of `useChat`, with what its transport's `body` adds."""

    id: Annotated[str, said("The chat, which is a thread; created if it does not exist.")]
    messages: list[UIMessage]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = None
    input: Annotated[
        dict[str, Any] | None, said("Further input of the graph; overrides the user's message.")
    ] = None
    only: Annotated[str | None, said("Which model calls are recorded.")] = None
    config: Config | None = None
    context: Annotated[Any, said("For graphs with a context schema.")] = None
