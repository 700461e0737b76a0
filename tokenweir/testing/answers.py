"""Sends the answers of a scripted provider: whole or streamed, at the scripted pace, with faults.

HTTP is written by hand, so that its bytes can be wrong on purpose.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenweir.testing.dashscope_protocol import DashScopeAnswer
from tokenweir.testing.openai_protocol import ChatAnswer, CompletionAnswer, error_body
from tokenweir.testing.recorded import RecordedRequest, State
from tokenweir.testing.reply import Reply

__all__ = ["Answering", "Gate"]


class Gate:
    """Where answers wait at their ``hold_after``. It belongs to one event loop."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()

    async def passed(self, request: RecordedRequest) -> None:
        """Wait until the request is released."""
        while not request._released:
            await self._opened.wait()

    def open(self) -> None:
        """Wake the waiting answers, to check again."""
        self._opened.set()
        self._opened = asyncio.Event()


@dataclass
class Answering:
    """One request being answered.

    Attributes:
        request: The request; its state follows the answer's.
        choose: Chooses the reply to a request.
        models: The names that ``/models`` lists.
        gate: Where answers wait at their ``hold_after``.
        writer: The connection.
    """

    request: RecordedRequest
    choose: Callable[[RecordedRequest], Reply]
    models: Sequence[str]
    gate: Gate
    writer: asyncio.StreamWriter

    async def run(self, method: str) -> bool:
        """Answer, and return whether the connection can take another request."""
        request = self.request
        path = request.path.partition("?")[0]
        if method == "GET" and path.endswith("/models"):
            models = [{"id": name, "object": "model", "owned_by": "you"} for name in self.models]
            body = json.dumps({"object": "list", "data": models}).encode()
            return await self._whole(200, body)
        form = next((form for form in _FORMS if path.endswith(form)), None)
        if form is None:
            body = error_body(f"Unknown path {path}", kind="invalid_request_error")
            return await self._whole(404, body)
        make = _FORMS[form]
        if not isinstance(request.body, dict) or not request.body.get(make.needs):
            body = error_body(f"{make.needs!r} is missing", kind="invalid_request_error")
            return await self._whole(400, body)
        reply = self.choose(request)
        answer = make(reply, request.body, request.headers)
        if reply.status != 200:
            return await self._whole(reply.status, answer.refusal(), reply.headers)
        if answer.streams():
            return await _Streaming(request, reply, answer, self.gate, self.writer).run()
        await asyncio.sleep(reply.first_after)
        if reply.hold_after is not None:
            await self.gate.passed(request)
        if reply.stall_after is not None:
            await asyncio.Event().wait()
        request.tokens_written = reply.count()
        return await self._whole(200, answer.whole(), reply.headers)

    async def _whole(self, status: int, body: bytes, headers: Any = None) -> bool:
        head = {"content-type": "application/json", "content-length": len(body), **(headers or {})}
        self.request._end("finished")  # before a client can know that it has ended
        self.writer.write(_head(status, head) + body)
        await self.writer.drain()
        return True


class _Streaming:
    """One streamed answer on its way."""

    def __init__(
        self,
        request: RecordedRequest,
        reply: Reply,
        answer: ChatAnswer | DashScopeAnswer,
        gate: Gate,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.request = request
        self.reply = reply
        self.answer = answer
        self.gate = gate
        self.writer = writer
        self.chance = reply.chance()
        self.kept = bytearray()

    async def run(self) -> bool:
        reply = self.reply
        head = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        self.writer.write(_head(200, {**head, **reply.headers}))
        await asyncio.sleep(reply.first_after)
        await self.send(self.answer.first())
        for number, event in enumerate(self.answer.tokens()):
            if number == reply.cut_after:
                return await self.cut(event)
            if number == reply.error_after:
                return await self.end(self.answer.error(), "finished")
            if number == reply.garbage_after:
                return await self.end(self.answer.raw('{"id": "chatcmpl-'), "finished")
            if number == reply.hold_after:
                await self.flush()
                await self.gate.passed(self.request)
            if number == reply.stall_after:
                await self.flush()
                await self.stall()
            if reply.every and number and number % reply.lump == 0:
                await asyncio.sleep(reply.every)
            await self.send(event)
            self.request.tokens_written += 1
        return await self.end(self.answer.last(), "finished")

    async def stall(self) -> None:
        while self.reply.stall_comments:
            await asyncio.sleep(self.reply.stall_comments)
            self.writer.write(_chunk(b": keep-alive\n\n"))
            await self.writer.drain()
        await asyncio.Event().wait()

    async def send(self, data: bytes) -> None:
        if not data:
            return
        if self.reply.burst:
            self.kept += data
            return
        for part in self.reply.parts(data, self.chance):
            self.writer.write(_chunk(part))
            await self.writer.drain()
            if self.reply.split is not None:
                await asyncio.sleep(0)  # its own packet

    async def flush(self) -> None:
        if self.kept:
            self.writer.write(_chunk(bytes(self.kept)))
            self.kept.clear()
        await self.writer.drain()

    async def end(self, data: bytes, state: State) -> bool:
        # This comes first, so that a client that has read the end finds it recorded.
        self.request._end(state)
        await self.send(data)
        await self.flush()
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
        return True

    async def cut(self, event: bytes) -> bool:
        if self.reply.cut == "event":
            await self.send(event[: len(event) // 2])
        await self.flush()
        self.request._end("cut")
        if self.reply.cut == "eof":
            self.writer.write(b"0\r\n\r\n")
            await self.writer.drain()
        elif self.reply.cut == "reset":
            raw = self.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.writer.close()
            with contextlib.suppress(ConnectionError):
                await self.writer.wait_closed()
        return self.reply.cut == "eof"


_FORMS: dict[str, type[ChatAnswer] | type[DashScopeAnswer]] = {
    "/chat/completions": ChatAnswer,
    "/completions": CompletionAnswer,
    "/text-generation/generation": DashScopeAnswer,
}
"""The protocols, by the last part of the path."""

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}


def _head(status: int, headers: dict[str, Any]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
