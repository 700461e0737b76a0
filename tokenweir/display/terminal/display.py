"""Picks the display for a file, and reads a whole stream into it."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterable, Mapping
from types import TracebackType
from typing import Any, Protocol, TextIO

from tokenweir.display.terminal.live import TerminalDisplay
from tokenweir.display.terminal.pipe import PipeDisplay

__all__ = ["Display", "display_for", "show"]


class Display(Protocol):
    """Where tokens are shown. A context manager, fed one token at a time."""

    def feed(self, chunk: Any, metadata: Mapping[str, Any]) -> None:
        """Show one token."""

    def close(self) -> None:
        """Finish; may be called twice."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None: ...


def display_for(file: TextIO | None = None) -> Display:
    """The display that suits a file: live lanes on a terminal, plain tokens anywhere else.

    A terminal that cannot move its cursor (``TERM=dumb``, or no ``TERM`` at all) gets plain tokens.
    ``NO_COLOR`` leaves the lanes without colour.
    """
    file = sys.stdout if file is None else file
    moves = os.name == "nt" or os.environ.get("TERM", "dumb").lower() not in ("dumb", "unknown", "")
    return TerminalDisplay(file) if file.isatty() and moves else PipeDisplay(file)


async def show(stream: AsyncIterable[tuple[Any, Any]], file: TextIO | None = None) -> None:
    """Read a stream of ``(chunk, metadata)`` to its end and show it.

    Whatever the stream raises passes through, after what came before it is shown.
    """
    with display_for(file) as display:
        async for chunk, metadata in stream:
            display.feed(chunk, metadata)
