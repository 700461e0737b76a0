"""What LangChain drops of an OpenAI-compatible answer: the reasoning. No I/O.

Reasoning models behind OpenAI's chat protocol (DeepSeek, Qwen, vLLM, llama.cpp, OpenRouter) send
it as ``reasoning_content`` or ``reasoning`` beside ``content``. It is kept where LangChain's other
integrations keep it, in ``additional_kwargs["reasoning_content"]``: ``content`` stays a string, and
``message.content_blocks`` gives a standard reasoning block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage

__all__ = ["COMPATIBLE", "keep_reasoning", "reasoning_in"]

COMPATIBLE = "openai-compatible"
"""The ``model_provider`` of answers that may hold reasoning.

By "openai" LangChain would read them as OpenAI's own chat answers, which never hold any, and leave
reasoning out of ``content_blocks``.
"""


def reasoning_in(data: Mapping[str, Any] | None) -> str:
    """The reasoning in a delta, or in a whole message, of OpenAI's chat protocol; "" if none."""
    if not data:
        return ""
    found = data.get("reasoning_content") or data.get("reasoning")
    return found if isinstance(found, str) else ""


def keep_reasoning(message: Any, data: Mapping[str, Any] | None) -> None:
    """Put the reasoning of ``data`` into the message (or chunk) that LangChain made of it."""
    if isinstance(message, AIMessage):
        if found := reasoning_in(data):
            message.additional_kwargs["reasoning_content"] = found
        if "model_provider" in message.response_metadata:
            message.response_metadata["model_provider"] = COMPATIBLE
