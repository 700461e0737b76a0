"""A graph's picture as PNG, painted by matplotlib with its own fonts."""

from __future__ import annotations

import io
from typing import Any

from tokenweir.graphs._drawing import FILL, INK, SOFT, Arrow, Drawing, is_outer
from tokenweir.graphs._layout import Box

__all__ = ["png_of"]


def png_of(drawing: Drawing) -> bytes:
    """The content of a file. Raises ``ImportError`` without matplotlib."""
    from matplotlib.figure import Figure

    left, top, width, height = drawing[:4]
    figure = Figure(figsize=(width / 72, height / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(left, left + width)
    axes.set_ylim(top + height, top)  # downwards
    for group in drawing.groups:
        _paint_box(axes, group, radius=8, fill="none", ink=SOFT)
        corner = group.x - group.width / 2 + 6, group.y - group.height / 2 + 9
        axes.text(*corner, group.label, size=8, color=SOFT, va="center")
    for arrow in drawing.arrows:
        _paint_arrow(axes, arrow)
    for box in drawing.boxes:
        radius, fill = (box.height / 2, "white") if is_outer(box) else (6, FILL)
        _paint_box(axes, box, radius=radius, fill=fill, ink=INK)
        axes.text(box.x, box.y, box.label, size=10, color=INK, ha="center", va="center")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=144, facecolor="white")
    return file.getvalue()


def _paint_box(axes: Any, box: Box, *, radius: float, fill: str, ink: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = box.x - box.width / 2, box.y - box.height / 2
    style = f"round,pad=0,rounding_size={radius}"
    patch = FancyBboxPatch(corner, box.width, box.height, boxstyle=style, fc=fill, ec=ink)
    axes.add_patch(patch)


def _paint_arrow(axes: Any, arrow: Arrow) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    code = {"L": Path.LINETO, "Q": Path.CURVE3, "C": Path.CURVE4}[arrow.curve]
    way = Path(arrow.way, [Path.MOVETO, *[code] * (len(arrow.way) - 1)])
    axes.add_patch(
        FancyArrowPatch(
            path=way,
            arrowstyle="-|>",
            mutation_scale=11,
            shrinkA=0,
            shrinkB=0,
            color=INK,
            linestyle=(0, (4, 3)) if arrow.dashed else "solid",
        )
    )
    if arrow.label:
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(*arrow.at, arrow.label, size=8, color=INK, ha="center", va="center", bbox=ground)
