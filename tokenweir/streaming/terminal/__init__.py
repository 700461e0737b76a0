"""The terminal display: one stream of ``(chunk, metadata)`` in, two ways to look at it.

A pipe or a file gets plain tokens, each followed by ``|`` as it comes. A terminal gets a lane per
tag, side by side, filling live. ``display_for`` picks one; ``show`` reads a whole stream into it::

    await show(astream(graph, {"topic": "cats"}))

What of a chunk is shown is decided in ``pieces.py``, which lane it goes to in ``board.py``; neither
does any I/O.
"""

from __future__ import annotations

from tokenweir.streaming.terminal.display import Display, display_for, show
from tokenweir.streaming.terminal.live import TerminalDisplay
from tokenweir.streaming.terminal.pieces import Piece, pieces, visible
from tokenweir.streaming.terminal.pipe import PipeDisplay

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
