"""Lanes on a terminal: one per tag, side by side, filling as tokens come.

Nothing is drawn before the first token. During the run, a long lane shows its tail; at the end
every lane is printed whole.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.segment import ControlType, Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from tokenweir.display.display import PaintedDisplay
from tokenweir.display.terminal.board import Lane
from tokenweir.display.terminal.wrap import Line

__all__ = ["Shape", "TerminalDisplay", "columns_for", "shape_for", "share_lines"]

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")
_STYLES = {
    "text": Style(),
    "reasoning": Style(dim=True, italic=True),
    "call": Style(dim=True),
    "result": Style(dim=True),
}


class TerminalDisplay(PaintedDisplay):
    """Shows a stream as live lanes on a terminal.

    A context manager: ``feed`` it each token. At the end the whole text of every lane replaces the
    live lanes, and the cursor is shown again, even if the run failed. What a node prints meanwhile
    appears above the lanes.

    Args:
        file: The terminal; standard output by default.
        console: A rich console to use instead.
    """

    def __init__(self, file: TextIO | None = None, *, console: Console | None = None) -> None:
        self._console = console or Console(file=file, highlight=False, markup=False, emoji=False)
        super().__init__(self._console.encoding)
        self._live: Live | None = None

    def _paint(self) -> None:
        if self._live is None:
            self._live = self._begin()
        self._live.refresh()

    def _finish(self) -> None:
        try:
            # rich still holds back what a node printed without ending the line.
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            with self._console:  # one write: the lanes never vanish in between
                if self._live is not None:
                    self._live.stop()
                if self._board.lanes:
                    self._console.print(self._whole(), end="")

    def _begin(self) -> Live:
        live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            get_renderable=self._frame,
            # Only output to this screen is redirected; a stderr that goes elsewhere stays there.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        live.start()
        return live

    def _frame(self) -> RenderableType:
        """The frame to show now. It is never higher than the screen, so it can be redrawn."""
        if self._done.is_set():
            return ""  # about to be replaced by the whole text
        with self._lock:
            return Group(_BEGIN, *self._visible_rows(), _END)

    def _visible_rows(self) -> list[RenderableType]:
        lanes, size = self._board.lanes, self._console.size
        if not lanes:
            return []
        room = size.height - 2  # one for the cursor, one for the count of hidden lanes
        shape = shape_for(len(lanes), size.width, room)
        shown = self._board.shown(shape.rows * shape.columns)
        rows = _in_rows(shown, shape.columns)
        wanted = [max(lane.wrapped(shape.width - 4).height for lane in row) + 2 for row in rows]
        drawn: list[RenderableType] = [
            _row([(lane, lane.wrapped(shape.width - 4).tail(lines - 2)) for lane in row], shape[:2])
            for row, lines in zip(rows, share_lines(wanted, room), strict=True)
        ]
        if len(lanes) > len(shown):
            more = f"{len(lanes) - len(shown)} more lanes; all are printed at the end"
            drawn.append(Text(more, style="dim", no_wrap=True, overflow="ellipsis"))
        return drawn

    def _whole(self) -> RenderableType:
        """Every lane with all its text."""
        lanes, width = self._board.lanes, self._console.size.width
        columns = columns_for(len(lanes), width)
        shape = (columns, width // columns)
        return Group(
            *(
                _row([(lane, lane.wrapped(shape[1] - 4).lines) for lane in row], shape)
                for row in _in_rows(lanes, columns)
            )
        )


def _in_rows(lanes: Sequence[Lane], columns: int) -> list[Sequence[Lane]]:
    return [lanes[start : start + columns] for start in range(0, len(lanes), columns)]


def _row(cells: Sequence[tuple[Lane, list[Line]]], shape: tuple[int, ...]) -> Table:
    """Lanes side by side, all as high as the highest."""
    columns, width = shape
    height = max(len(lines) for _, lines in cells) + 2
    row = Table.grid(padding=0)
    for _ in range(columns):
        row.add_column(width=width)
    row.add_row(*(_panel(lane, lines, width, height) for lane, lines in cells))
    return row


def _panel(lane: Lane, lines: list[Line], width: int, height: int) -> Panel:
    colour = _COLOURS[lane.order % len(_COLOURS)]
    text = Text("\n").join(
        Text.assemble(*((part, _STYLES[kind]) for kind, part in line)) for line in lines
    )
    text.no_wrap, text.overflow = True, "crop"
    return Panel(
        text,
        title=Text(lane.title, style=f"bold {colour}"),
        title_align="left",
        border_style=colour,
        width=width,
        height=height,
    )


class _Mode:
    """Asks the terminal to show whole frames only; terminals that cannot ignore it."""

    def __init__(self, code: str) -> None:
        # rich writes a control segment as it stands; its kind only says that it has no width.
        self._segment = Segment(code, None, [(ControlType.HOME,)])

    def __rich_console__(self, console: Any, options: Any) -> Any:
        yield self._segment


_BEGIN = _Mode("\x1b[?2026h")
_END = _Mode("\x1b[?2026l")


NARROWEST = 28
"""The least width of a lane in cells: a line of verse still fits."""

LOWEST = 4
"""The least height of a row of lanes: two lines of border, two of text."""


class Shape(NamedTuple):
    """A grid of lanes: how many in a row, how wide each, how many rows fit on the screen."""

    columns: int
    width: int
    rows: int


def columns_for(count: int, width: int) -> int:
    """How many of ``count`` lanes fit side by side in ``width`` cells; 1 stacks them."""
    return max(1, min(count, width // NARROWEST))


def shape_for(count: int, width: int, height: int) -> Shape:
    """The grid for ``count`` lanes on a screen of ``width`` x ``height`` cells."""
    columns = columns_for(count, width)
    rows = -(-count // columns)
    return Shape(columns, width // columns, min(rows, max(1, height // LOWEST)))


def share_lines(wanted: Sequence[int], height: int) -> list[int]:
    """Share ``height`` lines among rows: small ones get all they want, the rest equal parts."""
    given = [0] * len(wanted)
    left = height
    smallest_first = sorted(range(len(wanted)), key=lambda row: wanted[row])
    for place, row in enumerate(smallest_first):
        given[row] = min(wanted[row], left // (len(wanted) - place))
        left -= given[row]
    return given
