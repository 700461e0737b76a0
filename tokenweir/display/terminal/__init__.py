"""The terminal display: one stream of ``(chunk, metadata)`` in, two ways to look at it.

A pipe or a file gets plain tokens, each followed by ``|`` as it comes. A terminal gets a lane per
tag, side by side, filling live. ``display_for`` picks one; ``show`` reads a whole stream into it::

    await show(astream(graph, {"topic": "cats"}))

What of a chunk is shown is decided in ``pieces.py``, which lane it goes to in ``board.py``; neither
does any I/O.
"""

from __future__ import annotations

from tokenweir.display.terminal.display import Display, display_for, show
from tokenweir.display.terminal.live import TerminalDisplay
from tokenweir.display.terminal.pipe import PipeDisplay
from tokenweir.streaming.pieces import Piece, pieces, visible

__all__ = [
    "Display",
    "Piece",
    "PipeDisplay",
    "TerminalDisplay",
    "display_for",
    "pieces",
    "show",
    "visible",
]
