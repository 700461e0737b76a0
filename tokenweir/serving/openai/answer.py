"""Turns a graph's run into one answer in OpenAI's chat protocol. No I/O.

A run may have several model calls, some in parallel, but an answer is one text. The text of the
call that began first is therefore sent as it comes; parallel calls wait for its end, and follow
after an empty line. Tool calls that the graph answers itself are sent only in the extra field
``tokenweir``; those without a result are handed to the client when the run ends.

The protocol cannot express a retraction. A complete answer leaves out retracted messages. In a
stream, a chunk names them in ``tokenweir.remove``, and the replacement follows after an empty line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import UNSET

from tokenweir.serving.openai.schema import Choice, Completion, Said, ToolCall, Usage
from tokenweir.serving.sse.token_records import Record

__all__ = ["Answer"]

_FINISH = ("stop", "length", "content_filter", "tool_calls")
_BETWEEN = "\n\n"
_TOLD = ("node", "tags", "namespace", "model", "id", "tool_calls", "tool_call_id", "remove")
_NO_USAGE: Usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class Answer:
    """Takes the records of a run, and makes the chunks of an answer, and the complete answer.

    Args:
        id: The answer's id.
        model: The model's name, as the client gave it.
        created: The time of the request, in seconds since 1970.
    """

    def __init__(self, id: str, model: str, created: int) -> None:
        self._head: dict[str, Any] = {"id": id, "created": created, "model": model}
        self._text: list[tuple[_Call, str]] = []
        self._reasoning: list[tuple[_Call, str]] = []
        self._usage: Usage | None = None
        self._finish = "stop"
        self._live: _Call | None = None
        self._spoke: _Call | None = None
        self._waiting: dict[_Call, list[Record]] = {}
        self._over: set[_Call] = set()
        self._calls: dict[Any, ToolCall] = {}
        self._answered: set[str] = set()

    def start(self) -> dict[str, Any]:
        """The first chunk, with the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def feed(self, record: Record) -> Iterator[dict[str, Any]]:
        """The chunks for a record."""
        kind = record["type"]
        if kind == "remove":
            yield from self._remove(record["id"])
        elif kind == "node":
            if record["state"] != "started":
                yield from self._node_ended(record)
        elif kind == "message" and record.get("role") != "ai":
            if answered := record.get("tool_call_id"):
                self._answered.add(answered)
                yield self._chunk({}, record)
        elif kind in ("token", "message"):
            self._count(record)
            yield from self._token(record)

    def end(self, text: str = "") -> Iterator[dict[str, Any]]:
        """The last chunks: texts that still wait, unanswered tool calls, and the finish reason.

        Args:
            text: The answer if no model wrote a text: the graph's output.
        """
        self._live = None
        yield from self._next(everything=True)
        if text and not self._text and not self._open_calls():
            self._text.append((_Call(None, None, None, ()), text))
            yield self._chunk({"content": text})
        calls = self._open_calls()
        if calls:
            self._finish = "tool_calls"
            numbered = [{"index": number, **call} for number, call in enumerate(calls)]
            yield self._chunk({"tool_calls": numbered})
        yield self._chunk({}, finish=self._finish)

    def usage(self) -> dict[str, Any]:
        """The chunk after the last one, for clients that asked for usage."""
        counted = self._usage or _NO_USAGE
        return {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": counted}

    def whole(self) -> Completion:
        """The complete answer, after ``end``."""
        calls = self._open_calls()
        text = _joined(self._text)
        said = Said(content=text or (None if calls else ""))
        if self._reasoning:
            said.reasoning_content = _joined(self._reasoning)
        if calls:
            said.tool_calls = calls
        choice = Choice(message=said, finish_reason=self._finish)
        return Completion(**self._head, choices=[choice], usage=self._usage or UNSET)

    @property
    def speaking(self) -> object:
        """The call that is speaking, or None; ``around`` is valid until this changes."""
        return self._live if self._live is not None and self._live == self._spoke else None

    def around(self, record: Record) -> dict[str, Any] | None:
        """The chunk of a token that is only text of the call that is speaking; None for other
        tokens.

        For callers that write many such tokens, which differ only in their text. Tokens that are
        not passed to ``feed`` are missing in ``whole``.
        """
        more = ("reasoning", "tool_calls", "usage", "finish_reason")
        if record["type"] != "token" or any(record.get(each) for each in more):
            return None
        if self.speaking is None or _call_of(record) != self._live:
            return None
        return self._chunk({"content": record["text"]}, record)

    # Sending

    def _token(self, record: Record) -> Iterator[dict[str, Any]]:
        call = _call_of(record)
        if record["type"] == "message" and call in self._over | {self._live} | set(self._waiting):
            return  # it was sent token by token
        if self._live is None and call not in self._over:
            self._live = call
        if call != self._live and call not in self._over:
            self._waiting.setdefault(call, []).append(record)
        else:
            yield from self._say(record, call)
        if record["type"] == "message" or record.get("finish_reason"):
            self._over.add(call)
            if call == self._live:
                self._live = None
                yield from self._next()

    def _remove(self, message_id: str | None) -> Iterator[dict[str, Any]]:
        """Drop a retracted message, and continue with the calls that waited for it."""
        self._text = [said for said in self._text if said[0].id != message_id]
        self._reasoning = [said for said in self._reasoning if said[0].id != message_id]
        self._calls = {key: made for key, made in self._calls.items() if key[0].id != message_id}
        self._waiting = {
            call: records for call, records in self._waiting.items() if call.id != message_id
        }
        yield self._chunk({}, {"remove": message_id})
        if self._live is not None and self._live.id == message_id:
            self._live = None
            yield from self._next()

    def _node_ended(self, record: Record) -> Iterator[dict[str, Any]]:
        """End the calls of a node that has ended: tokens written by hand have no end event."""
        self._over.update(call for call in self._waiting if call.task == record["task"])
        if self._live is not None and self._live.task == record["task"]:
            self._over.add(self._live)
            self._live = None
            yield from self._next()

    def _next(self, *, everything: bool = False) -> Iterator[dict[str, Any]]:
        """Send the calls that waited, up to the first that has not ended."""
        while self._waiting and self._live is None:
            call = next(iter(self._waiting))
            for record in self._waiting.pop(call):
                yield from self._say(record, call)
            if call not in self._over and not everything:
                self._live = call

    def _say(self, record: Record, call: _Call) -> Iterator[dict[str, Any]]:
        delta: dict[str, Any] = {}
        if reasoning := record.get("reasoning"):
            self._reasoning.append((call, reasoning))
            delta["reasoning_content"] = reasoning
        if text := record["text"]:
            self._text.append((call, text))
            between = _BETWEEN if self._spoke not in (None, call) else ""
            self._spoke = call
            delta["content"] = between + text
        self._collect_calls(record, call)
        if delta or record.get("tool_calls"):
            yield self._chunk(delta, record)

    # Collecting

    def _collect_calls(self, record: Record, call: _Call) -> None:
        for number, part in enumerate(record.get("tool_calls") or ()):
            index = part.get("index")
            key = (call, number if index is None else index)
            made = self._calls.setdefault(
                key, {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
            )
            made["id"] = made["id"] or part.get("id")
            function = made["function"]
            function["name"] += part.get("name") or ""
            args = part.get("args") or ""
            function["arguments"] += args if isinstance(args, str) else json.dumps(args)

    def _open_calls(self) -> list[ToolCall]:
        return [call for call in self._calls.values() if call["id"] not in self._answered]

    def _count(self, record: Record) -> None:
        if usage := record.get("usage"):
            before = self._usage or _NO_USAGE
            self._usage = {
                "prompt_tokens": before["prompt_tokens"] + usage.get("input_tokens", 0),
                "completion_tokens": before["completion_tokens"] + usage.get("output_tokens", 0),
                "total_tokens": before["total_tokens"] + usage.get("total_tokens", 0),
            }
        reason = record.get("finish_reason")
        if reason in _FINISH:
            self._finish = "stop" if reason == "tool_calls" else reason

    def _chunk(
        self,
        delta: dict[str, Any],
        record: Mapping[str, Any] | None = None,
        finish: str | None = None,
    ) -> dict[str, Any]:
        # Many clients add up delta.content without checking that it exists.
        delta = {"content": "", **delta}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk: dict[str, Any] = {**self._head, "object": "chat.completion.chunk"}
        chunk["choices"] = [choice]
        if record is not None:
            chunk["tokenweir"] = {key: record[key] for key in _TOLD if record.get(key)}
            if record.get("role") == "tool":
                chunk["tokenweir"]["result"] = record["text"]
        return chunk


class _Call(NamedTuple):
    """Identifies a model call: by its message's id, else by task, node and tags."""

    id: str | None
    task: str | None
    node: str | None
    tags: tuple[str, ...]


def _call_of(record: Record) -> _Call:
    tags = () if record["id"] else tuple(record["tags"])
    return _Call(record["id"], record["task"], record["node"], tags)


def _joined(said: list[tuple[_Call, str]]) -> str:
    """The texts of calls, with an empty line where the call changes."""
    parts: list[str] = []
    before: _Call | None = None
    for call, text in said:
        if before not in (None, call):
            parts.append(_BETWEEN)
        parts.append(text)
        before = call
    return "".join(parts)
