"""AG-UI's events, protocol 1.0, as ``@ag-ui/client`` reads and checks them. No I/O.

Each message has its model call in its ``metadata`` under ``tokenweir``: ``node``, ``tags``,
``model``, and at its end ``usage``. A message that becomes void is removed by a
``MESSAGES_SNAPSHOT`` without it, the protocol's only way to do so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenweir.encoders.parts import Item, Part, Parts, Result, Said, frame

__all__ = ["AgUi"]

_VERSION = "1.0"


class AgUi:
    """Writes one run.

    Attributes:
        parts: Takes the run's tokens.
        before: The client's messages from before the run, in the protocol's form.
    """

    def __init__(self, before: Iterable[Mapping[str, Any]] = ()) -> None:
        self.parts = Parts(self)
        self.before: list[Mapping[str, Any]] = list(before)
        self._ids: dict[str, str] = {}

    # The frame of the run

    def start(self, ids: Mapping[str, str], **more: Any) -> bytes:
        """Start the run. ``ids`` are ``threadId`` and ``runId``."""
        self._ids = dict(ids)
        return frame({"type": "RUN_STARTED", **ids, "protocolVersion": _VERSION, **more})

    def finish(self, outcome: Mapping[str, Any]) -> bytes:
        """End the run without a failure; ``outcome`` is in the protocol's form."""
        ended: dict[str, Any] = {"type": "RUN_FINISHED", **self._ids, "outcome": outcome}
        if usage := _usage(self.parts):
            ended["usage"] = usage
        return self.parts.close() + frame(ended)

    def fail(self, text: str, code: str | None = None) -> bytes:
        """End the run with an error."""
        failed = {"type": "RUN_ERROR", "message": text}
        if code:
            failed["code"] = code
        return self.parts.close() + frame(failed)

    # Events that are not tokens

    def custom(self, value: Any) -> bytes:
        """A node's custom write: an event named ``custom``, or NAME for ``{"type": NAME}``."""
        name = value.get("type") if isinstance(value, Mapping) else None
        name = name if isinstance(name, str) and name else "custom"
        return frame({"type": "CUSTOM", "name": name, "value": value})

    def messages(self, messages: Sequence[Mapping[str, Any]]) -> bytes:
        """Replace the client's messages by these, which keep the metadata of their model calls."""
        about = {item.id: _of(item) for item in self.parts.items if isinstance(item, Said)}
        told = [
            {"metadata": about[message["id"]], **message} if message["id"] in about else message
            for message in messages
        ]
        return frame({"type": "MESSAGES_SNAPSHOT", "messages": told})

    # As the dialect of the parts

    def begin(self, part: Part) -> bytes:
        said, part.tail = part.said, b"}\n\n"
        owner = _owner(said.namespace)
        if part.kind == "call":
            part.head = _start({"type": "TOOL_CALL_ARGS", "toolCallId": part.id})
            begun = {"type": "TOOL_CALL_START", "toolCallId": part.id, "toolCallName": part.name}
            return frame({**begun, "parentMessageId": said.id, "metadata": _of(said), **owner})
        message = {"messageId": _id(part)}
        if part.kind == "text":
            part.head = _start({"type": "TEXT_MESSAGE_CONTENT", **message})
            begun = {"type": "TEXT_MESSAGE_START", **message, "role": "assistant"}
            return frame({**begun, "metadata": _of(said), **owner})
        part.head = _start({"type": "REASONING_MESSAGE_CONTENT", **message})
        begun = {"type": "REASONING_MESSAGE_START", **message, "role": "reasoning"}
        span = {"type": "REASONING_START", **message, **owner}
        return frame(span) + frame({**begun, "metadata": _of(said), **owner})

    def end(self, part: Part) -> bytes:
        about = {"metadata": _of(part.said)}
        if part.kind == "call":
            return frame({"type": "TOOL_CALL_END", "toolCallId": part.id, **about})
        message = {"messageId": _id(part)}
        if part.kind == "text":
            return frame({"type": "TEXT_MESSAGE_END", **message, **about})
        return frame({"type": "REASONING_MESSAGE_END", **message, **about}) + frame(
            {"type": "REASONING_END", **message}
        )

    def result(self, result: Result) -> bytes:
        told = {"type": "TOOL_CALL_RESULT", "messageId": result.id, "toolCallId": result.call_id}
        owner = _owner(result.namespace)
        return frame({**told, "content": result.text, "role": "tool", **owner})

    def void(self, gone: Said, left: Sequence[Item]) -> bytes:
        ended = b"".join(self.end(part) for part in gone.parts if part.open)
        messages = [message for message in self.before if message.get("id") != gone.id]
        for item in left:
            if not isinstance(item, bytes):
                messages += _shown(item)
        return ended + self.messages(messages)


def _shown(item: Said | Result) -> list[dict[str, Any]]:
    """A message as the client has it at this point."""
    owner = _owner(item.namespace)
    if isinstance(item, Result):
        told = {"id": item.id, "role": "tool", "toolCallId": item.call_id, "content": item.text}
        return [{**told, **owner}]
    found: list[dict[str, Any]] = []
    texts = [part.text for part in item.parts if part.kind == "text"]
    for part in item.parts:
        if part.kind == "reasoning":
            thought = {"id": _id(part), "role": "reasoning", "content": part.text}
            found.append({**thought, "metadata": _of(item), **owner})
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.text}}
        for part in item.parts
        if part.kind == "call"
    ]
    if texts or calls:
        said: dict[str, Any] = {"id": item.id, "role": "assistant", "content": "".join(texts)}
        found.append({**said, **({"toolCalls": calls} if calls else {}), **owner})
    return found


def _id(part: Part) -> str:
    """The id of the message that shows a part: reasoning has a separate message."""
    if part.kind == "text":
        return part.said.id
    return f"{part.id}:reasoning"


def _owner(namespace: Sequence[str]) -> dict[str, str]:
    """The subagent that an event belongs to: the task of a subgraph."""
    return {"subagentRunId": namespace[-1].rpartition(":")[2]} if namespace else {}


def _of(said: Said) -> dict[str, Any]:
    return {"tokenweir": {**said.about, **({"usage": said.usage} if said.usage else {})}}


def _usage(parts: Parts) -> list[dict[str, Any]]:
    found = []
    for (provider, model), usage in parts.usage.items():
        inward, outward = (
            usage.get("input_token_details", {}),
            usage.get("output_token_details", {}),
        )
        counts = {
            "inputTokens": usage.get("input_tokens"),
            "outputTokens": usage.get("output_tokens"),
            "totalTokens": usage.get("total_tokens"),
            "reasoningTokens": outward.get("reasoning"),
            "cachedInputTokens": inward.get("cache_read"),
            "cacheWriteInputTokens": inward.get("cache_creation"),
        }
        told: dict[str, Any] = {"provider": provider, "model": model, **counts}
        found.append({name: value for name, value in told.items() if value is not None})
    return found


def _start(fields: Mapping[str, Any]) -> bytes:
    """A frame up to the value of ``delta``."""
    return frame({**fields, "delta": None})[: -len(b"null}\n\n")]
