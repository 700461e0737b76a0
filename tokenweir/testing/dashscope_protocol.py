"""Encodes a reply in DashScope's own protocol, as JSON or as server-sent events. No I/O.

Events are cumulative unless the request asks for ``incremental_output``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from tokenweir.testing.reply import Reply

__all__ = ["DashScopeAnswer"]


class DashScopeAnswer:
    """One answer of DashScope's text generation."""

    needs = "input"
    """The field that a request must have."""

    def __init__(
        self, reply: Reply, request: Mapping[str, Any], headers: Mapping[str, str]
    ) -> None:
        self.reply = reply
        self.request = request
        self.request_id = str(uuid4())
        self._sse = headers.get("x-dashscope-sse") == "enable"
        parameters = request.get("parameters") or {}
        self._incremental = bool(parameters.get("incremental_output"))
        self._text = ""
        self._reasoning = ""
        self._calls: dict[int, dict[str, Any]] = {}
        self._number = 0

    def streams(self) -> bool:
        """Whether the request asks for a stream."""
        return self._sse

    def refusal(self) -> bytes:
        """The error body, for a reply with an error status."""
        return self._failure().encode()

    def whole(self) -> bytes:
        """The answer to a request that does not stream."""
        calls = [
            _call(index, call.id, call.name, call.arguments)
            for index, call in enumerate(self.reply.tool_calls)
        ]
        text = "".join(self.reply.text_tokens())
        output = self._output(text, "".join(self.reply.reasoning), calls, self._reason())
        return self._body(output).encode()

    def first(self) -> bytes:
        """Nothing, because the first event holds the first token."""
        return b""

    def tokens(self) -> Iterator[bytes]:
        """One event per token: reasoning, then text, then pieces of tool calls."""
        for token in self.reply.reasoning:
            self._reasoning += token
            yield self._token(reasoning=token)
        for token in self.reply.text_tokens():
            self._text += token
            yield self._token(text=token)
        for index, call in enumerate(self.reply.tool_calls):
            size = max(1, -(-len(call.arguments) // call.pieces))
            self._calls[index] = _call(index, call.id, call.name, "")
            yield self._token(call=self._calls[index])
            for at in range(0, len(call.arguments), size):
                piece = call.arguments[at : at + size]
                self._calls[index]["function"]["arguments"] += piece
                yield self._token(call=_call(index, "", "", piece))

    def last(self) -> bytes:
        """The event that closes the answer."""
        if self._incremental:
            return self._event(self._output("", "", [], self._reason()))
        calls = list(self._calls.values())
        return self._event(self._output(self._text, self._reasoning, calls, self._reason()))

    def error(self) -> bytes:
        """An error in the middle of the stream."""
        return self._lines("error", 500, self._failure())

    def raw(self, data: str) -> bytes:
        """One event with this data."""
        return self._lines("result", 200, data)

    def _reason(self) -> str:
        reply = self.reply
        return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")

    def _failure(self) -> str:
        code = _CODES.get(self.reply.status, "InternalError")
        failure = {"code": code, "message": self.reply.message, "request_id": self.request_id}
        return json.dumps(failure, ensure_ascii=False)

    def _token(
        self, text: str = "", reasoning: str = "", call: dict[str, Any] | None = None
    ) -> bytes:
        if self._incremental:
            return self._event(self._output(text, reasoning, [call] if call else [], "null"))
        calls = list(self._calls.values())
        return self._event(self._output(self._text, self._reasoning, calls, "null"))

    def _output(
        self, text: str, reasoning: str, calls: list[dict[str, Any]], reason: str
    ) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self.reply.reasoning:
            message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = calls
        return {"choices": [{"message": message, "finish_reason": reason}]}

    def _event(self, output: dict[str, Any]) -> bytes:
        return self.raw(self._body(output))

    def _body(self, output: dict[str, Any]) -> str:
        body: dict[str, Any] = {"output": output, "request_id": self.request_id}
        if self.reply.usage != "never":
            said = (self.request.get("input") or {}).get("messages") or ()
            asked = {"messages": said, "stream_options": {"include_usage": True}}
            usage = self.reply.usage_of(asked) or {}
            body["usage"] = {
                "input_tokens": usage["prompt_tokens"],
                "output_tokens": usage["completion_tokens"],
                "total_tokens": usage["total_tokens"],
            }
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"))

    def _lines(self, event: str, status: int, data: str) -> bytes:
        self._number += 1
        end = self.reply.newline
        comment = f": keep-alive{end}{end}" if self.reply.comments else ""
        lines = f"id:{self._number}", f"event:{event}", f":HTTP_STATUS/{status}", f"data:{data}"
        return (comment + end.join(lines) + end + end).encode()


_CODES = {400: "InvalidParameter", 401: "InvalidApiKey", 429: "Throttling.RateQuota"}


def _call(index: int, id: str, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": id, "type": "function", "function": function}
