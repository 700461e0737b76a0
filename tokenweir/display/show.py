"""``show``: read a stream to its end and show it where this code runs, notebook or terminal."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable, Mapping
from typing import Any, overload

from langchain_core.messages import BaseMessage

from tokenweir.display.notebook import NotebookDisplay, in_notebook
from tokenweir.display.terminal.display import Display, display_for

__all__ = ["show"]


@overload
def show(stream: AsyncIterable[Any]) -> Awaitable[None]: ...


@overload
def show(stream: Iterable[Any]) -> None: ...


def show(stream: Any) -> Any:
    """Show a stream's tokens as they come.

    ::

        await show(astream(graph, inputs))
        show(stream(graph, inputs))

    In a notebook and on a terminal every tag gets a lane of its own, side by side; into a pipe or
    a file go plain tokens. In a notebook the meter's report follows.

    Args:
        stream: ``astream(...)`` (await the result) or ``stream(...)``. With several stream modes
            or ``subgraphs=True``, whatever is not a token is left out.

    Raises:
        Exception: Whatever the stream raises, after what came before it is shown.
    """
    if hasattr(stream, "__aiter__"):
        return _show(stream)
    if not hasattr(stream, "__iter__"):
        raise TypeError(f"show takes a stream of (chunk, metadata), not {stream!r}")
    try:
        with _display() as display:
            for part in stream:
                _feed(display, part)
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()
    return None


async def _show(stream: Any) -> None:
    try:
        with _display() as display:
            async for part in stream:
                _feed(display, part)
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


def _display() -> Display:
    return NotebookDisplay() if in_notebook() else display_for()


def _feed(display: Display, part: Any) -> None:
    """Show the token in a part, which may stand behind a namespace and a mode."""
    if isinstance(part, tuple) and len(part) == 3:
        part = part[2]
    elif isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], (tuple, str)):
        # A node may write plain strings as tokens; a mode's name is followed by no metadata.
        part = part if _is_token(part) else part[1]
    if _is_token(part):
        display.feed(*part)


def _is_token(part: Any) -> bool:
    if not isinstance(part, (tuple, list)) or len(part) != 2:
        return False
    chunk, metadata = part
    if not isinstance(metadata, Mapping):
        return False
    if isinstance(chunk, str):
        return "langgraph_node" in metadata or "tags" in metadata
    return isinstance(chunk, (BaseMessage, Mapping))
