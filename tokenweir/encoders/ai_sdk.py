"""The AI SDK's UI message stream, version 1, as ``useChat`` reads it. No I/O.

Tested with ``ai`` 7.0.173 and 6.0.326. A run is one message of the assistant; its parts are the
texts, the reasoning and the tool calls of the run's model calls. Each part has its call in
``providerMetadata`` under ``tokenweir``: ``message``, ``node``, ``tags``, ``model``, and at its end
``usage``.

In version 7, a message that becomes void leaves no trace: its step is reset, and the rest of the
step is written again. Version 6 does not know ``reset-step`` and reports an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tokenweir.encoders.parts import Item, Part, Parts, Result, Said, frame

__all__ = ["HEADERS", "AiSdk"]

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
"""The headers that the response must have."""

_DONE = b"data: [DONE]\n\n"
_DATA_NAME = re.compile(r"[A-Za-z][\w-]*")
_REASONS = {
    "stop": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content-filter",
    "tool_calls": "stop",  # the graph has answered them, or the client will not be asked to
}


class AiSdk:
    """Writes one run as one message.

    Attributes:
        parts: Takes the run's tokens.
    """

    def __init__(self) -> None:
        self.parts = Parts(self)
        self._in_step = False

    # The frame of the message

    def start(self, message_id: str | None, metadata: Mapping[str, Any] | None = None) -> bytes:
        """Start the message, with this metadata."""
        begun: dict[str, Any] = {"type": "start"}
        if message_id:
            begun["messageId"] = message_id
        if metadata:
            begun["messageMetadata"] = metadata
        return frame(begun)

    def about(self, metadata: Mapping[str, Any]) -> bytes:
        """Add to the message's metadata."""
        return frame({"type": "message-metadata", "messageMetadata": metadata})

    def step(self) -> bytes:
        """Start a step, if none is open; the next part would also start one."""
        if self._in_step:
            return b""
        self._in_step = True
        return frame({"type": "start-step"})

    def boundary(self) -> bytes:
        """End the current step, unless it is empty, so that the next part starts another one."""
        written = self.parts.close()
        self.parts.forget()
        if self._in_step:
            self._in_step = False
            written += frame({"type": "finish-step"})
        return written

    def finish(self, metadata: Mapping[str, Any] | None = None, reason: str | None = None) -> bytes:
        """End the message and the stream.

        Args:
            metadata: Final metadata of the message, besides the usage of all calls.
            reason: The finish reason in the protocol's terms; by default that of the newest call.
        """
        usage = _total(self.parts)
        more = {**(metadata or {}), **({"usage": usage} if usage else {})}
        said = reason or _REASONS.get(self.parts.finish_reason or "stop", "other")
        ended: dict[str, Any] = {"type": "finish", "finishReason": said}
        if more:
            ended["messageMetadata"] = more
        return self.boundary() + frame(ended) + _DONE

    def fail(self, text: str) -> bytes:
        """End the stream with an error."""
        return self.parts.close() + frame({"type": "error", "errorText": text}) + _DONE

    def abort(self, reason: str) -> bytes:
        """End the stream of a run that was stopped."""
        return self.boundary() + frame({"type": "abort", "reason": reason}) + _DONE

    # Events that are not tokens

    def custom(self, value: Any) -> bytes:
        """A node's custom write: a part ``data-custom``, or ``data-NAME`` for ``{"type": NAME}``.

        Its ``id`` becomes the part's id, and later parts with that id replace it; with
        ``transient`` the part is not stored.
        """
        written: dict[str, Any] = {"type": "data-custom", "data": value}
        if isinstance(value, Mapping):
            name = value.get("type")
            if isinstance(name, str) and _DATA_NAME.fullmatch(name):
                written["type"] = f"data-{name}"
            if isinstance(value.get("id"), str):
                written["id"] = value["id"]
            if value.get("transient") is True:
                return frame({**written, "transient": True})  # is not shown again, either
        return self._note(frame(written))

    def asked(self, id: str, value: Any) -> bytes:
        """Send an interrupt that waits for an answer.

        LangChain's approvals of tool calls are requested at the calls, with the approval ids
        ``ID:0``, ``ID:1`` ... Any other interrupt becomes a call of a tool named ``interrupt``.
        """
        requests = value.get("action_requests") if isinstance(value, Mapping) else None
        calls = [
            self.parts.call(str(each.get("name")), each.get("args"))
            for each in requests or ()
            if isinstance(each, Mapping)
        ]
        if calls and None not in calls and len(set(calls)) == len(requests or ()):
            asks = [
                {
                    "type": "tool-approval-request",
                    "approvalId": f"{id}:{number}",
                    "toolCallId": call,
                }
                for number, call in enumerate(calls)
            ]
            # In the step of the calls, though it has ended: pages look for answers in the last one.
            return self.parts.note(b"".join(map(frame, asks)))
        call = {"toolCallId": id, "toolName": "interrupt", "input": value, "dynamic": True}
        asked = frame({"type": "tool-input-available", **call})
        ask = {"type": "tool-approval-request", "approvalId": id, "toolCallId": id}
        return self._note(asked + frame(ask))

    def answered(self, id: str, value: Any) -> bytes:
        """Send the answer of an interrupt that became a tool call."""
        if value is False:
            return frame({"type": "tool-output-denied", "toolCallId": id})
        return frame({"type": "tool-output-available", "toolCallId": id, "output": value})

    # As the dialect of the parts

    def begin(self, part: Part) -> bytes:
        name = part.id
        if part.kind == "call":
            part.head = _start({"type": "tool-input-delta", "toolCallId": name}, "inputTextDelta")
            begun = {"type": "tool-input-start", "toolCallId": name, "toolName": part.name}
        else:
            part.head = _start({"type": f"{part.kind}-delta", "id": name}, "delta")
            begun = {"type": f"{part.kind}-start", "id": name}
        part.tail = b"}\n\n"
        return self.step() + frame({**begun, "providerMetadata": _of(part.said)})

    def end(self, part: Part) -> bytes:
        if part.kind != "call":
            about = {"providerMetadata": _of(part.said)}
            return frame({"type": f"{part.kind}-end", "id": part.id, **about})
        call = {"toolCallId": part.id, "toolName": part.name}
        text = part.text
        try:
            given = json.loads(text) if text else {}
        except ValueError:
            wrong = "the arguments are not JSON"
            return frame({"type": "tool-input-error", **call, "input": text, "errorText": wrong})
        about = {"providerMetadata": _of(part.said)}
        return frame({"type": "tool-input-available", **call, "input": given, **about})

    def result(self, result: Result) -> bytes:
        about = {"toolCallId": result.call_id}
        if result.failed:
            return frame({"type": "tool-output-error", **about, "errorText": result.text})
        return frame({"type": "tool-output-available", **about, "output": result.value})

    def void(self, gone: Said, left: Sequence[Item]) -> bytes:
        return frame({"type": "reset-step"}) + b"".join(map(self._again, left))

    # Inside

    def _note(self, written: bytes) -> bytes:
        return self.step() + self.parts.note(written)

    def _again(self, item: Item) -> bytes:
        if isinstance(item, bytes):
            return item
        if isinstance(item, Result):
            return self.result(item)
        written = []
        for part in item.parts:
            written.append(self.begin(part))
            if part.texts:
                written.append(part.head + part.body + part.tail)
            if not part.open:
                written.append(self.end(part))
        return b"".join(written)


def _total(parts: Parts) -> dict[str, int]:
    """The token counts of all calls: input, output and total."""
    found: dict[str, int] = {}
    for usage in parts.usage.values():
        for name in ("input_tokens", "output_tokens", "total_tokens"):
            found[name] = found.get(name, 0) + usage.get(name, 0)
    return found


def _of(said: Said) -> dict[str, Any]:
    about = {"message": said.id, **said.about}
    if said.namespace:
        about["namespace"] = said.namespace
    if said.usage:
        about["usage"] = said.usage
    return {"tokenweir": about}


def _start(fields: Mapping[str, Any], last: str) -> bytes:
    """A frame up to the value of its last field."""
    return frame({**fields, last: None})[: -len(b"null}\n\n")]
