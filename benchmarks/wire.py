"""The server's bytes, made once: OpenAI's chat-completion events in HTTP chunks.

The events have all the fields that OpenAI sends today, so that a reader has as much to skip.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from benchmarks.script import Script

__all__ = ["HEAD", "NO_TIME", "Frames", "frames"]

HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n"
    b"cache-control: no-cache\r\n"
    b"openai-processing-ms: 120\r\n"
    b"x-request-id: req_6f1c0f2f6b0e4f7f9b1f0a2f3c4d5e6f\r\n"
    b"\r\n"
)

NO_TIME = b"@0000000000.000000"
"""Placeholder for the time in tokens of the kind ``clock``: seconds of the monotonic clock."""

_WORDS = (" the", " quick", " brown", " fox", " jumps", " over", " a", " lazy", " dog", ",")
# As a model's arguments look in any language but English: JSON text, escapes and all.
_ARGUMENTS = (
    " quick",
    " na\\u00efve",
    " fox",
    " jumps",
    " caf\\u00e9",
    " over",
    " d\\u00e9j\\u00e0",
)


@dataclass(frozen=True)
class Frames:
    """A reply: what opens it, one frame per token, and what closes it."""

    opening: bytes
    tokens: tuple[bytes, ...]
    closing: bytes


@lru_cache(maxsize=64)
def frames(script: Script) -> Frames:
    """The bytes of a reply, after the head."""
    if script.kind.startswith(("tools", "cut")):
        opening, tokens = _tool_call(script)
    else:
        opening = _event({"role": "assistant", "content": "", "refusal": None})
        words = [_text(word, logprobs=script.kind == "logprobs") for word in _WORDS]
        if script.kind == "clock":
            words = [_text(NO_TIME.decode(), logprobs=False)]
        tokens = [words[number % len(words)] for number in range(script.tokens)]
    if script.kind == "hold":
        return Frames(opening, tuple(tokens), b"")
    return Frames(opening, tuple(tokens), _closing(script))


def _text(word: str, *, logprobs: bool) -> bytes:
    if not logprobs:
        return _event({"content": word})
    top = {"token": word, "logprob": -0.3517, "bytes": list(word.encode())}
    return _event({"content": word}, {"content": [{**top, "top_logprobs": []}], "refusal": None})


def _tool_call(script: Script) -> tuple[bytes, list[bytes]]:
    function = {"name": "write", "arguments": ""}
    # Of an agent's run each call has an id of its own, by its turn.
    turn = script.kind.removeprefix("tools") if script.kind != "cut" else ""
    call = {"index": 0, "id": f"call_0f1e2d3c{turn}", "type": "function", "function": function}
    opening = _event({"role": "assistant", "content": None, "tool_calls": [call]})
    pieces = ['{"text": "', *(_ARGUMENTS[n % len(_ARGUMENTS)] for n in range(script.tokens - 2))]
    # A token limit does not care where it cuts: here in the middle of an escape.
    pieces.append('"}' if script.kind != "cut" else " \\u4f")
    made = {
        piece: _event({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        for piece in dict.fromkeys(pieces)
    }
    return opening, [made[piece] for piece in pieces[: script.tokens]]


def _closing(script: Script) -> bytes:
    reason = {"tools": "tool_calls", "cut": "length"}.get(script.kind.rstrip("0123456789"), "stop")
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": script.tokens,
        "total_tokens": script.tokens + 9,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    events = _event({}, finish=reason) + _event(None, usage=usage)
    return events + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _event(
    delta: dict[str, Any] | None,
    logprobs: dict[str, Any] | None = None,
    *,
    finish: str | None = None,
    usage: dict[str, Any] | None = None,
) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    event = {
        "id": "chatcmpl-CkY0Vx3bVh0n2uJt8Qe4mZ5aLr1Ws",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_560af6e559",
        "choices": [] if delta is None else [choice],
        "usage": usage,
        "obfuscation": "kJ3vX0qP",
    }
    return _chunk(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
