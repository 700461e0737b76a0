"""What a chunk holds: text, reasoning, a piece of a tool call. Plain looking, no I/O.

Reasoning comes in two forms: as ``reasoning_content`` in ``additional_kwargs`` beside a text that
stays a string (OpenAI-compatible endpoints), or as blocks in a list of content. LangChain's
``message.content_blocks`` gives standard blocks of both; these functions look without making any.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import BaseMessage

__all__ = ["has_reasoning", "has_text", "reasoning_of", "text_of"]


def has_text(chunk: Any) -> bool:
    """Whether a chunk, or a dict with ``content``, holds text of the answer."""
    content = _content(chunk)
    if isinstance(content, str) or not isinstance(content, list):
        return bool(content)
    return any(
        bool(block) if isinstance(block, str) else bool(_block_text(block)) for block in content
    )


def text_of(chunk: Any) -> str:
    """The text of the answer in a chunk; "" if it holds none."""
    content = _content(chunk)
    if isinstance(content, str) or not isinstance(content, list):
        return str(content or "")
    return "".join(block if isinstance(block, str) else _block_text(block) for block in content)


def has_reasoning(chunk: Any) -> bool:
    """Whether a chunk holds reasoning."""
    if _beside(chunk):
        return True
    content = _content(chunk)
    return isinstance(content, list) and any(_block_reasoning(block) for block in content)


def reasoning_of(chunk: Any) -> str:
    """The reasoning in a chunk; "" if it holds none."""
    content = _content(chunk)
    if isinstance(content, list) and (
        found := "".join(_block_reasoning(block) for block in content)
    ):
        return found
    return _beside(chunk)


def _content(chunk: Any) -> Any:
    if isinstance(chunk, BaseMessage):
        return chunk.content
    return chunk.get("content") if isinstance(chunk, dict) else chunk


def _beside(chunk: Any) -> str:
    if isinstance(chunk, dict):
        return str(chunk.get("reasoning_content") or "")
    extra = getattr(chunk, "additional_kwargs", None)
    found = extra.get("reasoning_content") if extra else None
    return found if isinstance(found, str) else ""


def _block_text(block: Any) -> str:
    if isinstance(block, dict) and block.get("type") == "text":
        return str(block.get("text") or "")
    return ""


def _block_reasoning(block: Any) -> str:
    """The reasoning of a standard block, or as Anthropic and OpenAI's responses write it."""
    if not isinstance(block, dict):
        return ""
    if block.get("type") == "reasoning":
        if summary := block.get("summary"):
            return "".join(str(part.get("text") or "") for part in summary)
        return str(block.get("reasoning") or "")
    return str(block.get("thinking") or "") if block.get("type") == "thinking" else ""
