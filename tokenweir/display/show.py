"""``show``: read a stream to its end and show it where this code runs, notebook or terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import Any, TextIO, overload

from tokenweir.display.display import Display
from tokenweir.display.notebook import NotebookDisplay, in_notebook
from tokenweir.display.terminal.live import TerminalDisplay
from tokenweir.display.terminal.pipe import PipeDisplay
from tokenweir.streaming.any_stream import read_all, token_in

__all__ = ["display_for", "show"]


@overload
def show(stream: AsyncIterable[Any]) -> Awaitable[None]: ...


@overload
def show(stream: Iterable[Any]) -> None: ...


def show(stream: Any) -> Any:
    """Show a stream's tokens as they come.

    ::

        await show(astream(graph, inputs))
        show(stream(graph, inputs))

    In a notebook and on a terminal each tag has its own lane, side by side; a pipe or a file gets
    plain tokens. In a notebook the meter's report follows.

    Args:
        stream: ``astream(...)`` (await the result) or ``stream(...)``. With several stream modes
            or ``subgraphs=True``, parts that are not tokens are left out.

    Raises:
        TypeError: If this is not such a stream.
        Exception: Whatever the stream raises, after what came before it is shown.
    """
    display = NotebookDisplay() if in_notebook() else display_for()

    def take(part: Any) -> None:
        if (token := token_in(part)) is not None:
            display.feed(*token)

    return read_all("show", stream, take, within=display)


def display_for(file: TextIO | None = None) -> Display:
    """The display that suits a file: live lanes on a terminal, plain tokens anywhere else.

    A terminal that cannot move its cursor (``TERM=dumb``, or no ``TERM`` at all) gets plain tokens.
    ``NO_COLOR`` leaves the lanes without colour.
    """
    file = sys.stdout if file is None else file
    moves = os.name == "nt" or os.environ.get("TERM", "dumb").lower() not in ("dumb", "unknown", "")
    return TerminalDisplay(file) if file.isatty() and moves else PipeDisplay(file)
