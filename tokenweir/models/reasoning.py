"""What LangChain drops of an OpenAI-compatible answer: the reasoning. No I/O.

Reasoning models behind OpenAI's chat protocol (DeepSeek, Qwen, vLLM, llama.cpp, OpenRouter) send
it as ``reasoning_content`` or ``reasoning`` beside ``content``. It is kept where LangChain's other
integrations keep it, in ``additional_kwargs["reasoning_content"]``, so that ``content`` stays a
string. For ``message.content_blocks``, LangChain reads messages of the provider "openai" as
OpenAI's own chat answers, which never hold any; importing this module teaches it to look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.messages.block_translators import get_translator, register_translator

__all__ = ["keep_reasoning", "reasoning_in"]


def reasoning_in(data: Mapping[str, Any] | None) -> str:
    """The reasoning in a delta, or in a whole message, of OpenAI's chat protocol; "" if none."""
    if not data:
        return ""
    found = data.get("reasoning_content") or data.get("reasoning")
    return found if isinstance(found, str) else ""


def keep_reasoning(message: Any, data: Mapping[str, Any] | None) -> None:
    """Put the reasoning of ``data`` into the message (or chunk) that LangChain made of it."""
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


def _teach_langchain() -> None:
    theirs = get_translator("openai") or {}
    if theirs:
        register_translator("openai", *(_with_reasoning(theirs[name]) for name in _FACES))


_FACES = ("translate_content", "translate_content_chunk")
_teach_langchain()
