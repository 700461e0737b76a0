"""A graph's picture as SVG for the page: nodes carry their names, so that they can be lit.

Made of text, with nothing but the standard library and the layout of the room of graphs; colours
are plain attributes, which a page's own style sheet goes over. ``tokenweir show`` draws pictures
for terminals and files.
"""

from __future__ import annotations

from html import escape
from typing import Any

from tokenweir.graphs._image import groups_of
from tokenweir.graphs._layout import Box, Line, place

__all__ = ["graph_svg"]

_MARGIN = 16
_INK, _FILL, _SOFT = "#334155", "#eef2ff", "#94a3b8"


def graph_svg(graph: Any) -> str:
    """The picture of a compiled graph, its subgraphs included.

    Each node is a ``<g class="node" data-node="NAME">``; a subgraph's are called by its name and
    theirs, ``editor:write``.
    """
    boxes, lines = place(graph.get_graph(xray=True))
    groups = list(groups_of(boxes))
    frames = [*boxes, *groups]
    points = [point for line in lines for point in line.points]
    left = min([*(x for x, _ in points), *(box.x - box.width / 2 for box in frames)]) - _MARGIN
    # A node that leads to itself has its loop, and its label, on the right.
    loops = [
        line.source.x + line.source.width / 2 + 34 for line in lines if line.source is line.target
    ]
    right = max([*(x for x, _ in points), *(box.x + box.width / 2 for box in frames), *loops])
    top = min(box.y - box.height / 2 for box in frames) - _MARGIN
    bottom = max(box.y + box.height / 2 for box in frames) + _MARGIN
    right += _MARGIN
    view = f"{left:.1f} {top:.1f} {right - left:.1f} {bottom - top:.1f}"
    names = ", ".join(box.label for box in boxes)
    pairs = {(line.source.id, line.target.id) for line in lines}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" width="{right - left:.0f}" '
        f'height="{bottom - top:.0f}" role="img" font-family="system-ui, sans-serif" '
        f'font-size="13">',
        f"<title>{escape(f'A graph with the nodes {names}')}</title>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto-start-reverse">'
        f'<path class="tip" d="M0 0.5 L8 4 L0 7.5 z" fill="{_INK}"/></marker></defs>',
        f'<rect class="ground" x="{left:.1f}" y="{top:.1f}" width="100%" height="100%" '
        'fill="white"/>',
        *(_group(group) for group in groups),
        *(_edge(line, bent=(line.target.id, line.source.id) in pairs) for line in lines),
        *(_node(box) for box in boxes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _node(box: Box) -> str:
    outer = box.id in ("__start__", "__end__")
    radius, fill = (box.height / 2, "white") if outer else (6, _FILL)
    return (
        f'<g class="{"node outer" if outer else "node"}" data-node="{escape(box.id)}">'
        f'<rect x="{box.x - box.width / 2:.1f}" y="{box.y - box.height / 2:.1f}" '
        f'width="{box.width:.1f}" height="{box.height:.1f}" rx="{radius:.0f}" '
        f'fill="{fill}" stroke="{_INK}"/>'
        f'<text x="{box.x:.1f}" y="{box.y:.1f}" text-anchor="middle" dominant-baseline="central" '
        f'fill="{_INK}">{escape(box.label)}</text></g>'
    )


def _group(box: Box) -> str:
    left, top = box.x - box.width / 2, box.y - box.height / 2
    return (
        f'<g class="group" data-group="{escape(box.id)}">'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="8" fill="none" stroke="{_SOFT}"/>'
        f'<text x="{left + 6:.1f}" y="{top + 9:.1f}" font-size="10" dominant-baseline="central" '
        f'fill="{_SOFT}">{escape(box.label)}</text></g>'
    )


def _edge(line: Line, *, bent: bool) -> str:
    dashes = ' stroke-dasharray="4 3"' if line.conditional else ""
    (x1, y1), (x2, y2) = line.points[0], line.points[-1]
    if line.source is line.target:
        side = x1 + line.source.width / 2
        way = f"M{side:.1f} {y1 - 6:.1f} C{side + 26:.1f} {y1 - 22:.1f} "
        way += f"{side + 26:.1f} {y1 + 22:.1f} {side:.1f} {y1 + 6:.1f}"
        at = (side + 30, y1)
    else:
        down = 1 if line.points[1][1] > y1 else -1
        start = (x1, y1 + down * line.source.height / 2)
        from_above = 1 if line.points[-2][1] < y2 else -1
        end = (x2, y2 - from_above * line.target.height / 2)
        if bent and len(line.points) == 2:  # there and back again: two ways side by side
            aside = down * 18
            start, end = (start[0] + aside / 2, start[1]), (end[0] + aside / 2, end[1])
            middle = ((start[0] + end[0]) / 2 + aside, (start[1] + end[1]) / 2)
            way = f"M{_at(start)} Q{_at(middle)} {_at(end)}"
            at = (middle[0] - aside / 2, middle[1])
        else:
            way = "M" + " L".join(_at(point) for point in [start, *line.points[1:-1], end])
            at = ((start[0] + line.points[1][0]) / 2, (start[1] + line.points[1][1]) / 2)
    path = (
        f'<path class="edge" d="{way}" fill="none" stroke="{_INK}"{dashes} '
        'marker-end="url(#arrow)"/>'
    )
    if not line.label:
        return path
    return path + (
        f'<text class="label" x="{at[0]:.1f}" y="{at[1]:.1f}" font-size="10" '
        f'text-anchor="middle" dominant-baseline="central" fill="{_INK}">'
        f"{escape(line.label)}</text>"
    )


def _at(point: tuple[float, float]) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"
