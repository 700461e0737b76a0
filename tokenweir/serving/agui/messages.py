"""Converts messages between AG-UI's form and the graphs'. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenweir.streaming.content import text_of

__all__ = ["for_client", "for_graph"]

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}


def for_graph(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A client's messages in OpenAI's form, without those that only clients show."""
    found = []
    for message in messages:
        role = message.get("role")
        if role in ("activity", "reasoning"):
            continue
        made: dict[str, Any] = {
            "role": role,
            "content": _content(message.get("content")),
            "id": message.get("id"),
        }
        if calls := message.get("toolCalls"):
            made["tool_calls"] = calls
        if role == "tool":
            made["tool_call_id"] = message.get("toolCallId")
        found.append(made)
    return found


def for_client(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """A state's messages, as JSON values, in AG-UI's form."""
    found = []
    for message in messages:
        role = _ROLES.get(message.get("type", "")) if isinstance(message, Mapping) else None
        if role is None or not isinstance(message.get("id"), str):
            continue
        made: dict[str, Any] = {"id": message["id"], "role": role, "content": text_of(message)}
        if role == "user" and isinstance(message.get("content"), list):
            made["content"] = [_part(block) for block in message["content"]]
        if role == "tool":
            made["toolCallId"] = message.get("tool_call_id")
        if calls := message.get("tool_calls"):
            made["toolCalls"] = [_call(call) for call in calls]
        found.append(made)
    return found


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(call.get("args") or {}, ensure_ascii=False)
    function = {"name": call.get("name"), "arguments": arguments}
    return {"id": call.get("id"), "type": "function", "function": function}


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content if content is not None else ""
    return [_block(part) for part in content if isinstance(part, Mapping)]


def _block(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a client's message as a content block of LangChain."""
    source = part.get("source")
    if not isinstance(source, Mapping):
        return dict(part)
    block = {"type": "file" if part.get("type") == "document" else part.get("type")}
    if mime := source.get("mimeType"):
        block["mime_type"] = mime
    block["base64" if source.get("type") == "data" else "url"] = source.get("value")
    return block


def _part(block: Any) -> Any:
    """A content block of LangChain as a part of a client's message."""
    if not isinstance(block, Mapping) or not ("base64" in block or "url" in block):
        return block
    data = "base64" in block
    source = {
        "type": "data" if data else "url",
        "value": block["base64" if data else "url"],
        **({"mimeType": block["mime_type"]} if "mime_type" in block else {}),
    }
    kind = block.get("type")
    return {"type": "document" if kind == "file" else kind, "source": source}
