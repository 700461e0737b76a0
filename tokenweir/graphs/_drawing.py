"""A graph's picture as shapes, in points, which ``_svg.py`` and ``_png.py`` draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from tokenweir.graphs._layout import Box, Line

__all__ = ["FILL", "INK", "SOFT", "Arrow", "Drawing", "Point", "drawing_of", "is_outer"]

INK, FILL, SOFT = "#334155", "#eef2ff", "#94a3b8"
_MARGIN = 16
_LOOP = 34
"""How far a node's edge to itself, with its label, extends to the right."""

Point = tuple[float, float]


class Arrow(NamedTuple):
    """An edge, from border to border.

    Attributes:
        way: Its points: connected straight for ``L``; for ``Q`` and ``C`` the points between the
            first and the last are the control points of a Bezier curve.
        curve: One of SVG's letters for paths.
        label: A choice's name, or "".
        at: The middle of the label.
        dashed: Whether the edge is conditional.
    """

    way: list[Point]
    curve: Literal["L", "Q", "C"]
    label: str
    at: Point
    dashed: bool


class Drawing(NamedTuple):
    """The shapes of a picture, and the rectangle that holds them."""

    left: float
    top: float
    width: float
    height: float
    groups: list[Box]
    arrows: list[Arrow]
    boxes: list[Box]


def is_outer(box: Box) -> bool:
    """Whether a node is the start or the end."""
    return box.id in ("__start__", "__end__")


def drawing_of(boxes: list[Box], lines: list[Line]) -> Drawing:
    """The shapes for what ``place`` has placed."""
    groups = list(_groups(boxes))
    pairs = {(line.source.id, line.target.id) for line in lines}
    arrows = [_arrow(line, bent=(line.target.id, line.source.id) in pairs) for line in lines]
    frames = [*boxes, *groups]
    ways = [x for line in lines for x, _ in line.points]
    loops = [_side(line.source) + _LOOP for line in lines if line.source is line.target]
    left = min([*ways, *(box.x - box.width / 2 for box in frames)]) - _MARGIN
    right = max([*ways, *loops, *map(_side, frames)]) + _MARGIN
    top = min(box.y - box.height / 2 for box in frames) - _MARGIN
    bottom = max(box.y + box.height / 2 for box in frames) + _MARGIN
    return Drawing(left, top, right - left, bottom - top, groups, arrows, boxes)


def _side(box: Box) -> float:
    return box.x + box.width / 2


def _arrow(line: Line, *, bent: bool) -> Arrow:
    (x1, y1), (x2, y2) = line.points[0], line.points[-1]
    if line.source is line.target:
        side = _side(line.source)
        far = side + 26
        way = [(side, y1 - 6), (far, y1 - 22), (far, y1 + 22), (side, y1 + 6)]
        return Arrow(way, "C", line.label, (side + 30, y1), line.conditional)
    down = 1 if line.points[1][1] > y1 else -1
    from_above = 1 if line.points[-2][1] < y2 else -1
    start = (x1, y1 + down * line.source.height / 2)
    end = (x2, y2 - from_above * line.target.height / 2)
    if bent and len(line.points) == 2:  # there and back again: two ways side by side
        aside = down * 18
        start, end = (start[0] + aside / 2, start[1]), (end[0] + aside / 2, end[1])
        middle = ((start[0] + end[0]) / 2 + aside, (start[1] + end[1]) / 2)
        at = (middle[0] - aside / 2, middle[1])
        return Arrow([start, middle, end], "Q", line.label, at, line.conditional)
    at = ((start[0] + line.points[1][0]) / 2, (start[1] + line.points[1][1]) / 2)
    return Arrow([start, *line.points[1:-1], end], "L", line.label, at, line.conditional)


def _groups(boxes: list[Box]) -> Iterator[Box]:
    """A frame around the nodes of each subgraph. Their names begin with that of its node."""
    members: dict[str, list[Box]] = {}
    for box in boxes:
        path = box.id.split(":")[:-1]
        for depth in range(1, len(path) + 1):
            members.setdefault(":".join(path[:depth]), []).append(box)
    for name, inside in members.items():
        deeper = max(box.id.count(":") for box in inside) - name.count(":")
        pad = 6 + 6 * deeper
        left = min(box.x - box.width / 2 for box in inside) - pad
        right = max(box.x + box.width / 2 for box in inside) + pad
        top = min(box.y - box.height / 2 for box in inside) - pad - 4
        bottom = max(box.y + box.height / 2 for box in inside) + pad
        label = name.rpartition(":")[2]
        right = max(right, left + 16 + 7 * len(label))
        yield Box(name, label, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
