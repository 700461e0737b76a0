"""Pictures of graphs, drawn on this machine: text, mermaid, SVG and PNG.

grandalf places the nodes; matplotlib paints PNG files.
"""

from __future__ import annotations

from typing import Any, Literal

from tokenweir.errors import PictureError
from tokenweir.graphs._drawing import drawing_of
from tokenweir.graphs._layout import place
from tokenweir.graphs._png import png_of
from tokenweir.graphs._svg import svg_of
from tokenweir.graphs._text import draw_text, in_ascii

__all__ = ["Kind", "draw", "in_ascii"]

Kind = Literal["text", "mermaid", "svg", "png"]


def draw(graph: Any, kind: Kind = "text") -> str | bytes:
    """Draw a compiled graph and its subgraphs.

    Args:
        graph: A compiled graph.
        kind: ``text`` for a terminal, ``mermaid``, or an image: ``svg``, ``png``. In text and
            images, dashed edges are conditional.

    Returns:
        ``bytes`` for ``png``, else ``str``.

    Raises:
        PictureError: For ``png``, if matplotlib is not installed.
    """
    drawable = graph.get_graph(xray=True)
    if kind == "mermaid":
        return str(drawable.draw_mermaid())
    if kind == "text":
        return draw_text(*place(drawable, whole_names=True))
    drawing = drawing_of(*place(drawable))
    if kind == "svg":
        return svg_of(drawing)
    try:
        return png_of(drawing)
    except ImportError as error:
        raise PictureError(
            "a picture as png needs matplotlib: pip install 'tokenweir[draw]'; "
            "svg, text and mermaid need nothing more"
        ) from error
