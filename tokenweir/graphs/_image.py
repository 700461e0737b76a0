"""A graph's picture as an image, drawn by matplotlib with its own fonts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Literal

from tokenweir.graphs._layout import Box, Line

__all__ = ["draw_image", "groups_of"]

_INK, _FILL, _SOFT = "#334155", "#eef2ff", "#94a3b8"
_MARGIN = 16


def draw_image(boxes: list[Box], lines: list[Line], kind: Literal["svg", "png"]) -> bytes:
    """The content of an image file. Raises ``ImportError`` without matplotlib."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    groups = list(groups_of(boxes))
    frames = [*boxes, *groups]
    ways = [x for line in lines for x, _ in line.points]
    left = min([*ways, *(box.x - box.width / 2 for box in frames)]) - _MARGIN
    right = max([*ways, *(box.x + box.width / 2 for box in frames)]) + _MARGIN
    top = min(box.y - box.height / 2 for box in frames) - _MARGIN
    bottom = max(box.y + box.height / 2 for box in frames) + _MARGIN
    figure = Figure(figsize=((right - left) / 72, (bottom - top) / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)  # downwards
    for group in groups:
        _draw_box(axes, group, radius=6, fill="none", ink=_SOFT)
    patches = {}
    for box in boxes:
        outer = box.id in ("__start__", "__end__")
        radius, fill = (14, "white") if outer else (5, _FILL)
        patches[box.id] = _draw_box(axes, box, radius=radius, fill=fill, ink=_INK)
    pairs = {(line.source.id, line.target.id) for line in lines}
    for line in lines:
        _draw_line(axes, line, patches, bent=(line.target.id, line.source.id) in pairs)
    file = io.BytesIO()
    # The same graph gives the same file: no date, no random names.
    with mpl.rc_context({"svg.hashsalt": "tokenweir"}):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(file, format=kind, dpi=144, metadata=metadata, facecolor="white")
    return file.getvalue()


def groups_of(boxes: list[Box]) -> Iterator[Box]:
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


def _draw_box(axes: Any, box: Box, *, radius: float, fill: str, ink: str) -> Any:
    from matplotlib.patches import FancyBboxPatch

    left, top = box.x - box.width / 2, box.y - box.height / 2
    style = f"round,pad=0,rounding_size={radius}"
    patch = FancyBboxPatch((left, top), box.width, box.height, boxstyle=style, fc=fill, ec=ink)
    axes.add_patch(patch)
    if fill == "none":
        axes.text(left + 6, top + 8, box.label, size=8, color=ink, va="center")
    else:
        axes.text(box.x, box.y, box.label, size=10, color=ink, ha="center", va="center")
    return patch


def _draw_line(axes: Any, line: Line, patches: dict[str, Any], *, bent: bool) -> None:
    """An edge with its arrow. It ends at the borders of its boxes."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    shape: dict[str, Any] = {
        "posA": line.points[0],
        "posB": line.points[-1],
        "patchA": patches[line.source.id],
        "patchB": patches[line.target.id],
        "connectionstyle": f"arc3,rad={0.25 if bent else 0}",
    }
    if line.source is line.target:
        side = line.source.x + line.source.width / 2
        shape = {
            "posA": (side, line.source.y - 6),
            "posB": (side, line.source.y + 6),
            "connectionstyle": "arc3,rad=-1.8",
        }
    elif len(line.points) > 2:
        # The edge leads around other boxes. Such a path does not end at borders by itself.
        down = 1 if line.points[1][1] > line.source.y else -1
        start = (line.source.x, line.source.y + down * line.source.height / 2)
        end = (line.target.x, line.target.y - down * line.target.height / 2)
        shape = {"path": Path([start, *line.points[1:-1], end])}
    axes.add_patch(
        FancyArrowPatch(
            **shape,
            arrowstyle="-|>",
            mutation_scale=11,
            shrinkA=0,
            shrinkB=1,
            color=_INK,
            linestyle=(0, (4, 3)) if line.conditional else "solid",
        )
    )
    if line.label:
        (x1, y1), (x2, y2) = line.points[:2]
        if line.source is line.target:
            x1 = x2 = line.source.x + line.source.width / 2 + 24
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        at = ((x1 + x2) / 2, (y1 + y2) / 2)
        axes.text(*at, line.label, size=8, color=_INK, ha="center", va="center", bbox=ground)
