"""Encodes a reply in OpenAI's protocols, as JSON or as server-sent events. No I/O."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from tokenweir.testing.reply import Reply, ToolCall

__all__ = ["ChatAnswer", "CompletionAnswer", "error_body", "prompt_of"]

_ESCAPED = "backslashreplace"
"""Encode as UTF-8. Halves of surrogate pairs, which UTF-8 lacks, become JSON escapes."""


def error_body(message: str, *, kind: str = "server_error", code: str | None = None) -> bytes:
    """An error in OpenAI's form."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return json.dumps({"error": error}).encode()


def prompt_of(request: Mapping[str, Any]) -> str:
    """The text of the last message of a request, or its prompt."""
    given = request.get("input")
    asked = given if isinstance(given, Mapping) else request
    messages = asked.get("messages") or [{"content": asked.get("prompt")}]
    content = messages[-1].get("content")
    if isinstance(content, list):
        parts = (part.get("text", "") if isinstance(part, dict) else part for part in content)
        return "".join(str(part) for part in parts)
    return str(content or "")


class ChatAnswer:
    """One chat completion."""

    needs = "messages"
    """The field that a request must have."""

    def __init__(
        self, reply: Reply, request: Mapping[str, Any], headers: Mapping[str, str]
    ) -> None:
        self.reply = reply
        self.request = request
        self.id = f"chatcmpl-{uuid4().hex}"
        self.created = int(time.time())
        self.model = str(request.get("model", "scripted"))

    def streams(self) -> bool:
        """Whether the request asks for a stream."""
        return bool(self.request.get("stream"))

    def refusal(self) -> bytes:
        """The error body, for a reply with an error status."""
        kind = "rate_limit_error" if self.reply.status == 429 else "server_error"
        return error_body(self.reply.message, kind=kind)

    def finish_reason(self) -> str:
        """Why the answer ends."""
        reply = self.reply
        return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")

    def whole(self) -> bytes:
        """The answer to a request that does not stream."""
        reply = self.reply
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(reply.text_tokens()) or None,
            "refusal": None,
        }
        if reply.reasoning:
            message[reply.reasoning_field] = "".join(reply.reasoning)
        if reply.tool_calls:
            message["tool_calls"] = [_tool_call(call, call.arguments) for call in reply.tool_calls]
        body = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "logprobs": None,
                    "finish_reason": self.finish_reason(),
                }
            ],
            "usage": reply.usage_of({**self.request, "stream_options": {"include_usage": True}}),
        }
        return json.dumps(body, ensure_ascii=False).encode(errors=_ESCAPED)

    def first(self) -> bytes:
        """The event that opens the answer: the role, and no text."""
        return self._delta({"role": "assistant", "content": "", "refusal": None})

    def tokens(self) -> Iterator[bytes]:
        """One event per token: reasoning, then text, then pieces of tool calls."""
        role = {"role": "assistant"} if self.reply.role_everywhere else {}
        for token in self.reply.reasoning:
            yield self._delta({**role, self.reply.reasoning_field: token})
        for token in self.reply.text_tokens():
            yield self._delta({**role, "content": token}, token=token)
        for index, call in enumerate(self.reply.tool_calls):
            size = max(1, -(-len(call.arguments) // call.pieces))
            start = _tool_call(call, "")
            yield self._delta({**role, "tool_calls": [{"index": index, **start}]})
            for at in range(0, len(call.arguments), size):
                piece = {"arguments": call.arguments[at : at + size]}
                yield self._delta({**role, "tool_calls": [{"index": index, "function": piece}]})

    def last(self) -> bytes:
        """The events that close the answer."""
        # OpenAI sends an empty delta. Qwen and others send "", for readers who add up the content.
        end = self._delta({"content": ""}, finish=self.finish_reason())
        usage = self.reply.usage_of(self.request)
        if usage is not None:
            end += self._event({**self._head(), "choices": [], "usage": usage})
        return end + self.raw("[DONE]")

    def error(self) -> bytes:
        """An error in the middle of the stream."""
        return self.raw(error_body(self.reply.message).decode())

    def raw(self, data: str) -> bytes:
        """One event with this data."""
        line = self.reply.newline
        comment = f": keep-alive{line}{line}" if self.reply.comments else ""
        return f"{comment}data: {data}{line}{line}".encode(errors=_ESCAPED)

    def _head(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_scripted",
        }

    def _delta(
        self, delta: dict[str, Any], *, finish: str | None = None, token: str | None = None
    ) -> bytes:
        logprobs = None
        if self.reply.logprobs and token is not None:
            logprobs = {
                "content": [
                    {
                        "token": token,
                        "logprob": -0.5,
                        "bytes": list(token.encode()),
                        "top_logprobs": [],
                    }
                ],
                "refusal": None,
            }
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._event({**self._head(), "choices": [choice]})

    def _event(self, data: dict[str, Any]) -> bytes:
        return self.raw(json.dumps(data, ensure_ascii=False, separators=(",", ":")))


class CompletionAnswer(ChatAnswer):
    """One completion (``/v1/completions``): text, and nothing else."""

    needs = "prompt"

    def __init__(
        self, reply: Reply, request: Mapping[str, Any], headers: Mapping[str, str]
    ) -> None:
        super().__init__(reply, request, headers)
        self.id = f"cmpl-{uuid4().hex}"

    def whole(self) -> bytes:
        text = "".join(self.reply.text_tokens())
        asked = {**self.request, "stream_options": {"include_usage": True}}
        prompts = self.request.get("prompt")
        count = len(prompts) if isinstance(prompts, list) else 1
        choices = [self._choice(text, self.finish_reason(), index) for index in range(count)]
        body = {**self._head(), "choices": choices, "usage": self.reply.usage_of(asked)}
        return json.dumps(body, ensure_ascii=False).encode(errors=_ESCAPED)

    def first(self) -> bytes:
        return b""

    def tokens(self) -> Iterator[bytes]:
        for token in self.reply.text_tokens():
            yield self._event({**self._head(), "choices": [self._choice(token, None)]})

    def last(self) -> bytes:
        end = self._event({**self._head(), "choices": [self._choice("", self.finish_reason())]})
        usage = self.reply.usage_of(self.request)
        if usage is not None:
            end += self._event({**self._head(), "choices": [], "usage": usage})
        return end + self.raw("[DONE]")

    def _head(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
        }

    def _choice(self, text: str, finish: str | None, index: int = 0) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _tool_call(call: ToolCall, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}
