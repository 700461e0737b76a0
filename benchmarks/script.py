"""The request to the server: a line in the prompt, so that any client can carry it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

__all__ = ["TURNS", "Script"]

TURNS = 10
"""Tool calls of an agent's run, before its answer."""

_LINE = re.compile(rb"script:(\w+),(\d+),(\d+)")


@dataclass(frozen=True)
class Script:
    """One reply that the server has to send.

    Args:
        kind: ``text``; ``tools``, the arguments of one tool call; ``cut``, the same, ending where
            they cannot be completed to valid JSON; ``logprobs``, text with log probabilities;
            ``hold``, text, and then nothing until the client leaves; ``clock``, text with the time
            at which it was sent, if it is paced; ``turns``, a tool call while the request has
            answers to fewer than ``TURNS`` of them, then text.
        tokens: Events with text, or with a piece of arguments.
        every: Milliseconds between tokens; 0 sends them one write after the other.
    """

    kind: str = "text"
    tokens: int = 1
    every: int = 0

    def prompt(self) -> str:
        """The script as a user's prompt."""
        return f"script:{self.kind},{self.tokens},{self.every}"

    def pieces(self) -> int:
        """The number of chunks with text or of a tool call that a client sees; a name is one.

        For an agent's run, those of all calls, and one answer of the tool for each.
        """
        if self.kind == "turns":
            return TURNS * (self.tokens + 2) + self.tokens
        return self.tokens + (self.kind in ("tools", "cut"))

    def turn(self, body: bytes) -> Script:
        """The reply to this request of an agent's run."""
        if self.kind != "turns":
            return self
        answered = body.count(b'"tool_call_id"')
        return replace(self, kind=f"tools{answered}" if answered < TURNS else "text")

    @classmethod
    def found_in(cls, body: bytes) -> Script:
        """The script in a request's body; ``ValueError`` if there is none."""
        found = _LINE.search(body)
        if found is None:
            raise ValueError(f"no script in the request: {body[:200]!r}")
        return cls(found[1].decode(), int(found[2]), int(found[3]))
