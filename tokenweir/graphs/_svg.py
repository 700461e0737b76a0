"""A graph's picture as SVG, made with the standard library alone.

Each node is a ``<g class="node" data-node="NAME">``, which a page can highlight; the nodes of a
subgraph are named ``editor:write``. Colours are plain attributes, which a page's style sheet
overrides.
"""

from __future__ import annotations

from html import escape

from tokenweir.graphs._drawing import FILL, INK, SOFT, Arrow, Drawing, Point, is_outer
from tokenweir.graphs._layout import Box

__all__ = ["svg_of"]


def svg_of(drawing: Drawing) -> str:
    """The document."""
    left, top, width, height = drawing[:4]
    names = ", ".join(box.label for box in drawing.boxes)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.1f} {top:.1f} {width:.1f} '
        f'{height:.1f}" width="{width:.0f}" height="{height:.0f}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(f'A graph with the nodes {names}')}</title>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto-start-reverse">'
        f'<path class="tip" d="M0 0.5 L8 4 L0 7.5 z" fill="{INK}"/></marker></defs>',
        f'<rect class="ground" x="{left:.1f}" y="{top:.1f}" width="100%" height="100%" '
        'fill="white"/>',
        *map(_group, drawing.groups),
        *map(_edge, drawing.arrows),
        *map(_node, drawing.boxes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _node(box: Box) -> str:
    outer = is_outer(box)
    radius, fill = (box.height / 2, "white") if outer else (6, FILL)
    return (
        f'<g class="{"node outer" if outer else "node"}" data-node="{escape(box.id)}">'
        f'{_rect(box)} rx="{radius:.0f}" fill="{fill}" stroke="{INK}"/>'
        f'<text x="{box.x:.1f}" y="{box.y:.1f}" text-anchor="middle" dominant-baseline="central" '
        f'fill="{INK}">{escape(box.label)}</text></g>'
    )


def _group(box: Box) -> str:
    left, top = box.x - box.width / 2, box.y - box.height / 2
    return (
        f'<g class="group" data-group="{escape(box.id)}">'
        f'{_rect(box)} rx="8" fill="none" stroke="{SOFT}"/>'
        f'<text x="{left + 6:.1f}" y="{top + 9:.1f}" font-size="10" dominant-baseline="central" '
        f'fill="{SOFT}">{escape(box.label)}</text></g>'
    )


def _rect(box: Box) -> str:
    return (
        f'<rect x="{box.x - box.width / 2:.1f}" y="{box.y - box.height / 2:.1f}" '
        f'width="{box.width:.1f}" height="{box.height:.1f}"'
    )


def _edge(arrow: Arrow) -> str:
    dashes = ' stroke-dasharray="4 3"' if arrow.dashed else ""
    way = f"M{_at(arrow.way[0])} {arrow.curve}{' '.join(map(_at, arrow.way[1:]))}"
    path = (
        f'<path class="edge" d="{way}" fill="none" stroke="{INK}"{dashes} '
        'marker-end="url(#arrow)"/>'
    )
    if not arrow.label:
        return path
    x, y = arrow.at
    return path + (
        f'<text class="label" x="{x:.1f}" y="{y:.1f}" font-size="10" text-anchor="middle" '
        f'dominant-baseline="central" fill="{INK}">{escape(arrow.label)}</text>'
    )


def _at(point: Point) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"
