"""The notebook display: a lane per tag, side by side, filling as tokens come; then the meter.

One output of the cell is replaced each time, through Jupyter's display protocol. It is plain HTML
without scripts or widgets, so JupyterLab, VS Code and nbconvert show the same. At the end it holds
the whole text. ``terminal/board.py`` assigns tokens to lanes.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tokenweir.display.display import Display, PaintedDisplay
from tokenweir.display.terminal.board import Lane
from tokenweir.streaming.meter import Meter

__all__ = ["NotebookDisplay", "in_notebook"]

TAIL = 3_000
"""Characters of a lane shown while it grows: some screens full, and quick to lay out."""

Bundle = dict[str, str]
"""One output in several formats, by their MIME types."""


def in_notebook() -> bool:
    """Whether this code runs in a Jupyter kernel: JupyterLab, VS Code, nbconvert ..."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class NotebookDisplay(PaintedDisplay):
    """Shows a stream as live lanes below a notebook's cell.

    A context manager: ``feed`` it each token. At the end the lanes hold their whole text, with the
    meter's report below, even if the run failed. It shows nothing before the first token.

    Args:
        show: Displays an output, and returns a function that replaces it; by default IPython's.
    """

    def __init__(self, show: Callable[[Bundle], Callable[[Bundle], None]] | None = None) -> None:
        super().__init__()
        self._show = show or _through_ipython
        self._replace: Callable[[Bundle], None] | None = None
        self._meter = Meter()

    def __enter__(self) -> Display:
        self._meter.start()
        return super().__enter__()

    def feed(self, chunk: Any, metadata: Mapping[str, Any]) -> None:
        self._meter.feed(chunk, metadata)
        super().feed(chunk, metadata)

    def _paint(self) -> None:
        with self._lock:
            bundle = _bundle(self._board.lanes)
        self._put(bundle)

    def _finish(self) -> None:
        if self._board.lanes:
            self._put(_bundle(self._board.lanes, str(self._meter.report())))

    def _put(self, bundle: Bundle) -> None:
        if self._replace is None:
            self._replace = self._show(bundle)
        else:
            self._replace(bundle)


def _through_ipython(bundle: Bundle) -> Callable[[Bundle], None]:
    from IPython.display import display

    handle: Any = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def replace(bundle: Bundle) -> None:
        handle.update(bundle, raw=True)

    return replace


def _bundle(lanes: Iterable[Lane], report: str | None = None) -> Bundle:
    """The lanes as an output, with the meter's report if the run is over."""
    live = report is None
    page = "".join(_lane(lane, live=live) for lane in lanes)
    page = f'<div style="{_SIDE_BY_SIDE}">{page}</div>'
    plain = "\n\n".join(f"{lane.title}\n{lane.text}" for lane in lanes) if not live else "..."
    if report is not None:
        page += f'<pre style="{_REPORT}">{html.escape(report)}</pre>'
        plain += f"\n\n{report}"
    return {"text/html": page, "text/plain": plain}


def _lane(lane: Lane, *, live: bool) -> str:
    colour = _COLOURS[lane.order % len(_COLOURS)]
    parts = _last(lane.parts, TAIL) if live else lane.parts
    text = "".join(_STYLED[kind].format(html.escape(part)) for kind, part in _joined(parts))
    # Laid out from below, so that a lane that is full shows its newest lines without a script.
    box = _LIVE if live else ""
    return (
        f'<div style="{_FRAME};border-top:3px solid {colour}">'
        f'<b style="color:{colour}">{html.escape(lane.title)}</b>'
        f'<div style="{box}"><pre style="{_TEXT}">{text}</pre></div></div>'
    )


def _last(parts: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """The last parts, which together have at least ``count`` characters."""
    at, held = len(parts), 0
    while at and held < count:
        at -= 1
        held += len(parts[at][1])
    return [("text", "…"), *parts[at:]] if at else parts


def _joined(parts: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """Join neighbours of one kind; an HTML tag for each token would make pages slow."""
    kind, held = "", list[str]()
    for next_kind, text in parts:
        if next_kind != kind and held:
            yield kind, "".join(held)
            held = []
        kind = next_kind
        held.append(text)
    if held:
        yield kind, "".join(held)


# Colours that can be read on white and on black; all else is the page's own.
_COLOURS = ("#0e8a9e", "#c2449a", "#3f9142", "#b7791f", "#4a78d6", "#d2524a")
_SIDE_BY_SIDE = (
    "display:grid;gap:0.8em;grid-template-columns:repeat(auto-fit,minmax(min(18em,100%),1fr))"
)
_FRAME = "min-width:0;padding:0.3em 0.7em;border:1px solid rgba(128,128,128,0.35);border-radius:3px"
_LIVE = "display:flex;flex-direction:column-reverse;max-height:24em;overflow:hidden"
# Never shrunk: in pages where <pre> scrolls, such as JupyterLab, its oldest lines would show.
_TEXT = (
    "flex:none;margin:0.3em 0 0;padding:0;font-family:inherit;line-height:1.45;background:none;"
    "white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere"
)
_REPORT = (
    "margin:0.8em 0 0;padding:0;background:none;font-family:monospace;font-size:0.9em;"
    "white-space:pre;overflow-x:auto"
)
_STYLED = {
    "text": "{}",
    "reasoning": '<i style="opacity:0.7">{}</i>',
    "call": '<code style="opacity:0.8">{}</code>',
    "result": '<code style="opacity:0.8">{}</code>',
}
