"""How an answer arrived: token by token, in lumps, or at once. Arithmetic on times, no I/O.

What is told apart is what a reader sees. An answer that a proxy holds back and then delivers in
many chunks at once is not streamed, whatever the protocol says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Rhythm", "Verdict"]

Verdict = Literal["token by token", "in lumps", "not at all", "nothing came"]

_AT_ONCE = 0.02
"""An answer whose chunks all came in this last part of the time was held back until then."""
_FAST = 0.0025, 0.2
"""So was one whose chunks came faster, in seconds, than most are made, in this last part: they are
read as fast as this machine can."""
_PER_LUMP = 3.5
"""Tokens that may come at once on average: multi-token prediction gives two or three."""
_CHARACTERS_PER_TOKEN = 4
"""Of English text, where the provider does not say how many tokens it made."""


@dataclass
class Rhythm:
    """Feed it when each chunk that held something came, in seconds since the question."""

    times: list[float] = field(default_factory=list)
    characters: int = 0
    output_tokens: int | None = None

    def feed(self, at: float, characters: int) -> None:
        """A chunk has come."""
        self.times.append(at)
        self.characters += characters

    @property
    def first(self) -> float | None:
        """Seconds to the first chunk."""
        return self.times[0] if self.times else None

    @property
    def chunks_per_second(self) -> float | None:
        """Chunks after the first, by the time in which they came."""
        spread = self._spread()
        return (len(self.times) - 1) / spread if spread else None

    @property
    def tokens(self) -> float:
        """How many tokens came, by the provider's count or by the length of the text."""
        return float(self.output_tokens or max(1.0, self.characters / _CHARACTERS_PER_TOKEN))

    def arrivals(self) -> int:
        """How often something came: chunks that come at the same moment are one arrival.

        What is the same moment is a matter of the stream's own pace: much less than its mean gap.
        """
        if not self.times:
            return 0
        short = self._spread() / max(1, len(self.times) - 1) / 4
        gaps = (later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False))
        return 1 + sum(gap > short for gap in gaps)

    def verdict(self) -> Verdict:
        """The answer to the question."""
        if not self.times:
            return "nothing came"
        if len(self.times) == 1 or self._held_back():
            return "not at all"
        return "token by token" if self.tokens / self.arrivals() <= _PER_LUMP else "in lumps"

    def _held_back(self) -> bool:
        part = self._spread() / self.times[-1] if self.times[-1] else 1.0
        pace = self._spread() / (len(self.times) - 1)
        return part <= _AT_ONCE or (pace < _FAST[0] and part <= _FAST[1])

    def _spread(self) -> float:
        return self.times[-1] - self.times[0] if self.times else 0.0
