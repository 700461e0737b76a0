"""Turns a completion model's output into messages and message chunks. No I/O.

Completion models (LangChain's ``BaseLLM``) give text, not messages. The messages made here have the
form of a chat model's answer, and its id: ``lc_run--`` and the run id of the call.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

__all__ = ["completion_chunk", "completion_message"]


def completion_chunk(chunk: Generation, run_id: UUID) -> AIMessageChunk:
    """One chunk of a streamed completion.

    ``generation_info`` goes into ``response_metadata``, except for its ``usage_metadata``.
    """
    return AIMessageChunk(content=chunk.text, id=_id(run_id), **_fields(chunk))


def completion_message(response: LLMResult, run_id: UUID) -> AIMessage | None:
    """The whole message of a completion; None if the result is not a completion."""
    if not response.generations or not response.generations[0]:
        return None
    made = response.generations[0][0]
    if isinstance(made, ChatGeneration):
        return None
    fields = _fields(made)
    usage = (response.llm_output or {}).get("token_usage")
    if usage and fields["usage_metadata"] is None:
        fields["usage_metadata"] = {
            "input_tokens": usage.get("prompt_tokens", 0),
            "output_tokens": usage.get("completion_tokens", 0),
            "total_tokens": usage.get("total_tokens", 0),
        }
    return AIMessage(content=made.text, id=_id(run_id), **fields)


def _id(run_id: UUID) -> str:
    return f"lc_run--{run_id}"


def _fields(made: Generation) -> dict[str, Any]:
    info = {
        name: value for name, value in (made.generation_info or {}).items() if value is not None
    }
    return {"usage_metadata": info.pop("usage_metadata", None), "response_metadata": info}
