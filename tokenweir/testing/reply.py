"""The reply of a scripted provider: its tokens, its pace and its faults."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Reply", "ToolCall"]

Cut = Literal["event", "eof", "reset"]


@dataclass(frozen=True)
class ToolCall:
    """One tool call in a reply.

    Attributes:
        name: The tool's name.
        arguments: Its arguments, as JSON text, which may be invalid.
        pieces: The number of deltas for the arguments.
        id: The call's id.
    """

    name: str
    arguments: str = "{}"
    pieces: int = 3
    id: str = "call_1"


@dataclass(frozen=True)
class Reply:
    """One answer of a scripted provider. Times are seconds, counts are tokens.

    A request that does not stream is answered whole, after ``first_after``, ``hold_after`` and
    ``stall_after``. ``every`` and the faults of streams do not apply.

    Attributes:
        text: The text, streamed word by word. Give ``tokens`` to divide it differently.
        tokens: The tokens, or a number of tokens to generate while they are sent.
        reasoning: Tokens of reasoning, sent before the text.
        reasoning_field: The name under which reasoning is sent.
        tool_calls: Tool calls, sent after the text.
        every: Seconds between tokens; 0 sends as fast as the client reads.
        lump: Tokens to send together, with ``every`` between the lumps.
        first_after: Seconds before the first token.
        hold_after: After this many tokens, wait for ``Provider.release()``.
        stall_after: After this many tokens, send nothing more until the client leaves.
        stall_comments: While stalled, send a comment at this interval in seconds, as providers do
            to keep a connection alive.
        cut_after: After this many tokens, end the connection as ``cut`` says: in the middle of an
            ``"event"``, cleanly but without an end (``"eof"``), or with a TCP ``"reset"``.
        error_after: After this many tokens, send an error event and end.
        garbage_after: After this many tokens, send an event that is not JSON.
        status: An HTTP status other than 200 answers with an error body and nothing else.
        headers: More response headers (``{"retry-after": "1"}``).
        message: The text of errors.
        usage: Report usage: when the client asked for it, ``"always"``, or ``"never"``.
        finish_reason: The finish reason; by default ``stop``, or ``tool_calls`` with tool calls.
        split: Divide the response after every this many bytes, or at random places with a seed:
            ``("random", 7)``. Each part is sent separately.
        newline: The end of lines.
        comments: An SSE comment before each event.
        role_everywhere: Repeat the role in every delta, as some providers do.
        burst: Send the whole body in one write.
        logprobs: Send log probabilities with each token.
    """

    text: str = ""
    tokens: Sequence[str] | int | None = None
    reasoning: Sequence[str] = ()
    reasoning_field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    tool_calls: Sequence[ToolCall] = ()
    every: float = 0.0
    lump: int = 1
    first_after: float = 0.0
    hold_after: int | None = None
    stall_after: int | None = None
    stall_comments: float | None = None
    cut_after: int | None = None
    cut: Cut = "event"
    error_after: int | None = None
    garbage_after: int | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "the provider was scripted to fail"
    usage: Literal["asked", "always", "never"] = "asked"
    finish_reason: str | None = None
    split: int | tuple[Literal["random"], int] | None = None
    newline: str = "\n"
    comments: bool = False
    role_everywhere: bool = False
    burst: bool = False
    logprobs: bool = False

    def text_tokens(self) -> Iterator[str]:
        """The tokens of the text, one by one. Generated tokens are made as they are needed."""
        if isinstance(self.tokens, int):
            for number in range(self.tokens):
                yield f" t{number}"
        elif self.tokens is not None:
            yield from self.tokens
        else:
            start = 0
            for at, letter in enumerate(self.text):
                if letter == " " and at > start:
                    yield self.text[start:at]
                    start = at
            if start < len(self.text):
                yield self.text[start:]

    def count(self) -> int:
        """How many tokens of text there are."""
        if isinstance(self.tokens, int):
            return self.tokens
        return len(self.tokens) if self.tokens is not None else sum(1 for _ in self.text_tokens())

    def parts(self, data: bytes, chance: random.Random) -> Iterator[bytes]:
        """The bytes in the parts in which they are written, as ``split`` says."""
        if self.split is None or not data:
            yield data
            return
        at = 0
        while at < len(data):
            size = self.split if isinstance(self.split, int) else chance.randint(1, 40)
            yield data[at : at + size]
            at += size

    def chance(self) -> random.Random:
        """The randomness of ``split``, the same for each answer."""
        return random.Random(self.split[1] if isinstance(self.split, tuple) else 0)

    def usage_of(self, request: Mapping[str, Any]) -> dict[str, int] | None:
        """The usage to report to this request, if any."""
        asked = (request.get("stream_options") or {}).get("include_usage")
        wanted = {"always": True, "never": False, "asked": bool(asked)}[self.usage]
        if not wanted:
            return None
        asked = [item.get("content") for item in request.get("messages", ())]
        prompt = sum(len(str(said).split()) for said in asked or [request.get("prompt")])
        completion = self.count() + len(self.reasoning)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
