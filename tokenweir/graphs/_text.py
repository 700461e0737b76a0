"""A graph's picture, drawn with characters."""

from __future__ import annotations

from itertools import pairwise

from rich.cells import cell_len

from tokenweir.graphs._layout import Box, Line

__all__ = ["draw_text", "in_ascii"]

_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
# The index is the sum of the sides at which a line leaves its cell.
_LINES = " ╵╷│╴┘┐┤╶└┌├─┴┬┼"
_DASHED = str.maketrans("─│", "╌┊")
_ASCII = str.maketrans("╵╷│╴┘┐┤╶└┌├─┴┬┼╌┊▼▲↺", "|||-+++-+++-++" + "+-:v^@")

_CELL = 8  # points
_LAYER = 6  # rows: three for a box, one for the lines out, one across, one for the arrows


def draw_text(boxes: list[Box], lines: list[Line]) -> str:
    """The picture. Dashed lines are conditional edges."""
    canvas = _Canvas()
    back = any(line.target.y < line.source.y for line in lines)
    layer = _LAYER + 1 if back else _LAYER  # lines that lead back run across in a row of their own
    top = {y: number * layer for number, y in enumerate(sorted({box.y for box in boxes}))}
    loops = {line.source.id for line in lines if line.source is line.target}
    for box in boxes:
        text = f"{box.label} ↺" if box.id in loops else box.label
        canvas.box(round(box.x / _CELL), top[box.y], text)
    for line in lines:
        if line.source is not line.target:
            _draw_line(canvas, line, top, layer)
    return canvas.text()


def in_ascii(picture: str) -> str:
    """The same picture in ASCII."""
    return picture.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def _draw_line(canvas: _Canvas, line: Line, top: dict[float, int], layer: int) -> None:
    """An edge: down (or up) from its source, across if it must, and into its target."""
    row, last = top[line.source.y], top[line.target.y]
    step = 1 if last > row else -1
    # Edges that lead back are drawn beside those that lead forward.
    columns = [round(x / _CELL) + (0 if step > 0 else 2) for x, _ in line.points]
    if len(columns) == 2 and len(
        {y for y in top.values() if min(row, last) < y < max(row, last)}
    ):  # past boxes in the same column
        columns = [columns[0], max(columns) + 8, columns[1]]
    at = row + 3 if step > 0 else row - 1
    way = [(columns[0], at)]
    for number, column in enumerate(columns[1:], 1):
        across = at + step
        way += [(way[-1][0], across), (column, across)]
        row = row + step * layer
        if number == len(columns) - 1:
            row = last
        at = row - 1 if step > 0 else row + 3
        way.append((column, at))
        if number < len(columns) - 1:  # through the layer of the boxes that it passes
            at = row + 3 if step > 0 else row - 1
            way.append((column, at))
    for one, other in pairwise(way):
        canvas.line(one, other, line.conditional)
    canvas.write(*way[-1], "▼" if step > 0 else "▲")
    if line.label:
        canvas.write(way[-1][0] - cell_len(line.label) // 2, way[-1][1] - step, line.label)


class _Canvas:
    """A grid of cells with lines, which join where they meet, and text over them."""

    def __init__(self) -> None:
        self._sides: dict[tuple[int, int], int] = {}
        self._solid: set[tuple[int, int]] = set()
        self._text: dict[tuple[int, int], str] = {}

    def line(self, one: tuple[int, int], other: tuple[int, int], dashed: bool = False) -> None:
        """A straight line from the middle of one cell to the middle of another."""
        (x1, y1), (x2, y2) = sorted((one, other))
        ahead, back = (_DOWN, _UP) if x1 == x2 else (_RIGHT, _LEFT)
        cells = [(x, y) for x in range(x1, x2 + 1) for y in range(y1, y2 + 1)]
        for cell, following in pairwise(cells):
            self._sides[cell] = self._sides.get(cell, 0) | ahead
            self._sides[following] = self._sides.get(following, 0) | back
        if not dashed:
            self._solid.update(cells)

    def box(self, middle: int, top: int, label: str) -> None:
        """A label with a frame around it."""
        left = middle - cell_len(label) // 2 - 2
        right, bottom = left + cell_len(label) + 3, top + 2
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        for one, other in pairwise(corners):
            self.line(one, other)
        self.write(left + 2, top + 1, label)

    def write(self, x: int, y: int, text: str) -> None:
        """Write text over what is there. A wide character takes two cells."""
        for character in text:
            self._text[x, y] = character
            if cell_len(character) == 2:
                self._text[x + 1, y] = ""
            x += cell_len(character)

    def text(self) -> str:
        """All lines, without empty columns on the left and trailing spaces."""
        cells = [*self._sides, *self._text]
        left, right = min(x for x, _ in cells), max(x for x, _ in cells)
        rows = range(min(y for _, y in cells), max(y for _, y in cells) + 1)
        drawn = ("".join(self._cell((x, y)) for x in range(left, right + 1)) for y in rows)
        return "\n".join(row.rstrip() for row in drawn) + "\n"

    def _cell(self, cell: tuple[int, int]) -> str:
        if cell in self._text:
            return self._text[cell]
        line = _LINES[self._sides.get(cell, 0)]
        return line if cell in self._solid else line.translate(_DASHED)
