"""Comparing what our chat model streams with what ChatOpenAI streams."""

from __future__ import annotations

from typing import Any

from tokenweir.models._openai.reasoning import PROVIDER
from tokenweir.models.chat import ChatModel
from tokenweir.testing import Reply, ToolCall

__all__ = ["REPLIES", "ByLangChain", "as_openais"]

REPLIES = {
    "text": Reply("Why did the cat sit down?"),
    "nothing": Reply(""),
    "usage": Reply("Two words", usage="always"),
    "cut by length": Reply("not the end", finish_reason="length"),
    "role everywhere": Reply("a b c", role_everywhere=True),
    "letters": Reply(tokens=["日", "本", "🐈", "\n\n", "é", " "]),
    "comments": Reply("with comments between", comments=True),
    "CRLF": Reply("lines end in two", newline="\r\n"),
    "tools": Reply(
        "Let me see.",
        tool_calls=[
            ToolCall("add", '{"a": 2, "b": 3}', id="call_1", pieces=5),
            ToolCall("look", "{}", id="call_2", pieces=1),
        ],
        usage="always",
    ),
    "cut tool": Reply(tool_calls=[ToolCall("add", '{"a": "two \\u00', pieces=6)]),
    "broken tool": Reply(tool_calls=[ToolCall("add", "not json", pieces=3)]),
    "log probabilities": Reply("a b c", logprobs=True, usage="always"),
    "reasoning": Reply("so it is", reasoning=["I", " think"]),
    "long": Reply(tokens=700, burst=True),
}


class ByLangChain(ChatModel):
    """Our chat model, all of whose calls LangChain makes and reads."""

    def _difference(self) -> str:
        return "it is what others are compared with"


def as_openais(value: Any) -> Any:
    """What ``without_run_ids`` gave, as if the server were OpenAI's own.

    Messages of other servers have a ``model_provider`` of ours.
    """
    if value == PROVIDER:
        return "openai"
    if isinstance(value, dict):
        return {name: as_openais(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(as_openais(item) for item in value)
    return value
