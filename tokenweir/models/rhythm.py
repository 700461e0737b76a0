"""How an answer arrived: token by token, in lumps, or at once. Arithmetic on times, no I/O.

The verdict is about what a reader sees. If a proxy holds an answer back and then delivers many
chunks at once, the answer is not streamed, whatever the protocol says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Rhythm", "Verdict"]

Verdict = Literal["token by token", "in lumps", "not at all", "nothing came"]

_AT_ONCE = 0.02
"""If all chunks came in this last fraction of the time, the answer was held back until then."""
_FAST = 0.0025, 0.2
"""The same is true if all chunks came in this last fraction, faster (in seconds per chunk) than
models write: then they arrived as fast as this machine can read them."""
_PER_LUMP = 3.5
"""Tokens that may come at once on average: multi-token prediction gives two or three."""
_CHARACTERS_PER_TOKEN = 4
"""Estimate for English text, if the provider does not report its number of tokens."""


@dataclass
class Rhythm:
    """Feed it the arrival time of each chunk with content, in seconds since the request."""

    times: list[float] = field(default_factory=list)
    characters: int = 0
    output_tokens: int | None = None

    def feed(self, at: float, characters: int) -> None:
        """Add a chunk."""
        self.times.append(at)
        self.characters += characters

    @property
    def first(self) -> float | None:
        """Seconds to the first chunk."""
        return self.times[0] if self.times else None

    @property
    def chunks_per_second(self) -> float | None:
        """The number of chunks after the first, divided by the time they took."""
        spread = self._spread()
        return (len(self.times) - 1) / spread if spread else None

    @property
    def tokens(self) -> float:
        """The number of tokens, by the provider's count or else estimated from the text."""
        return float(self.output_tokens or max(1.0, self.characters / _CHARACTERS_PER_TOKEN))

    def arrivals(self) -> int:
        """The number of arrivals: chunks that come at the same moment are one arrival.

        The same moment means a gap much shorter than the stream's mean gap.
        """
        if not self.times:
            return 0
        short = self._spread() / max(1, len(self.times) - 1) / 4
        gaps = (later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False))
        return 1 + sum(gap > short for gap in gaps)

    def verdict(self) -> Verdict:
        """How the answer arrived."""
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
