"""Reads the messages of a chat page: as a graph's input, and as answers to interrupts. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tokenweir.serving.ai_sdk.schema import UIMessage

__all__ = ["answers_in", "for_graph", "outputs_in"]

INTERRUPT = "interrupt"
"""The name of the tool that an interrupt is shown as."""


def for_graph(messages: Iterable[UIMessage]) -> list[dict[str, Any]]:
    """The messages in OpenAI's form; of the assistant's, only the text."""
    found = []
    for message in messages:
        blocks = [block for part in message.parts if (block := _block(part)) is not None]
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        plain = message.role != "user" or len(texts) == len(blocks)
        content: Any = "".join(texts) if plain else blocks
        found.append({"role": message.role, "content": content, "id": message.id or None})
    return found


def answers_in(message: UIMessage) -> dict[str, Any]:
    """The answers to interrupts in an assistant's message, by interrupt id."""
    found: dict[str, Any] = {}
    for part in message.parts:
        approval = part.get("approval")
        if part.get("state") == "output-available" and part.get("toolName") == INTERRUPT:
            found[str(part.get("toolCallId"))] = part.get("output")
        elif part.get("state") == "approval-responded" and isinstance(approval, Mapping):
            found[str(approval.get("id"))] = _decision(part, approval)
    return found


def outputs_in(message: UIMessage) -> list[dict[str, Any]]:
    """The results of tools that the page has called, in OpenAI's form."""
    found = []
    for part in message.parts:
        kind, state = str(part.get("type")), part.get("state")
        if not kind.startswith("tool-") or state not in ("output-available", "output-error"):
            continue
        output = part.get("output") if state == "output-available" else part.get("errorText")
        call_id = part.get("toolCallId")
        text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
        found.append(
            {"role": "tool", "content": text, "tool_call_id": call_id, "id": f"{call_id}:result"}
        )
    return found


def _decision(part: Mapping[str, Any], approval: Mapping[str, Any]) -> Any:
    """An approval in the form for interrupts, or for LangChain's middleware."""
    approved = approval.get("approved") is True
    if part.get("toolName") == INTERRUPT:
        return approved
    if approved:
        return {"type": "approve"}
    reason = approval.get("reason")
    said = {"message": reason} if isinstance(reason, str) and reason else {}
    return {"type": "reject", **said}


def _block(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """A part of a message as a content block of LangChain; None if graphs do not use it."""
    if part.get("type") == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    url, media = part.get("url"), part.get("mediaType")
    if part.get("type") != "file" or not isinstance(url, str) or not isinstance(media, str):
        return None
    kind = media.partition("/")[0]
    block = {"type": kind if kind in ("image", "audio", "video") else "file", "mime_type": media}
    if url.startswith("data:") and ";base64," in url:
        return {**block, "base64": url.partition(";base64,")[2]}
    return {**block, "url": url}
