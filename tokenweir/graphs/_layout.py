"""Places the nodes and edges of a graph in its picture, in points, by grandalf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.cells import cell_len

__all__ = ["Box", "Line", "place"]


class Box(NamedTuple):
    """A node: its label, centre and size, in points."""

    id: str
    label: str
    x: float
    y: float
    width: float
    height: float


class Line(NamedTuple):
    """An edge: its path, from the centre of its source to that of its target."""

    source: Box
    target: Box
    points: list[tuple[float, float]]
    label: str
    conditional: bool


@dataclass
class _View:
    """What grandalf reads of a node (its size) and sets (its centre)."""

    w: float
    h: float
    xy: tuple[float, float] = (0.0, 0.0)


class _EdgeView:
    """Where grandalf stores the path of an edge."""

    points: list[tuple[float, float]]

    def setpath(self, points: list[tuple[float, float]]) -> None:
        self.points = points

    def shift(self, by: float) -> None:
        self.points = [(x + by, y) for x, y in getattr(self, "points", [])]


_HEIGHT, _GAP, _SPACE = 30, 44, 36


def place(drawable: Any, *, whole_names: bool = False) -> tuple[list[Box], list[Line]]:
    """The nodes and edges of a drawable graph (``graph.get_graph(xray=True)``).

    With ``whole_names`` the names of a subgraph's nodes begin with its own.
    """
    from grandalf.graphs import Edge, Graph, Vertex
    from grandalf.layouts import SugiyamaLayout

    labels = {key: _label(key, node.name, whole_names) for key, node in drawable.nodes.items()}
    vertices = {key: Vertex(key) for key in labels}
    for key, vertex in vertices.items():
        vertex.view = _View(26 + 8 * cell_len(labels[key]), _HEIGHT)
    edges = []
    for edge in drawable.edges:
        made = Edge(vertices[edge.source], vertices[edge.target], data=edge)
        made.view = _EdgeView()
        edges.append(made)
    left = 0.0
    for part in Graph(vertices.values(), edges).C:
        layout = SugiyamaLayout(part)
        layout.xspace, layout.yspace = _SPACE, _GAP
        layout.init_all(roots=[v for v in part.sV if v.data == "__start__"] or None)
        layout.draw()
        views = [vertex.view for vertex in part.sV]
        shift = left - min(view.xy[0] - view.w / 2 for view in views)
        for view in views:
            view.xy = (view.xy[0] + shift, view.xy[1])
        for made in part.sE:
            made.view.shift(shift)
        left = max(view.xy[0] + view.w / 2 for view in views) + _SPACE
    boxes = {
        key: Box(key, labels[key], view.xy[0], view.xy[1], view.w, view.h)
        for key, view in ((key, vertex.view) for key, vertex in vertices.items())
    }
    return list(boxes.values()), [_route(made, boxes) for made in edges]


def _route(made: Any, boxes: dict[str, Box]) -> Line:
    edge = made.data
    source, target = boxes[edge.source], boxes[edge.target]
    between = made.view.points[1:-1]
    if between and abs(between[0][1] - source.y) > abs(between[-1][1] - source.y):
        between = between[::-1]
    points = [(source.x, source.y), *between, (target.x, target.y)]
    return Line(source, target, points, str(edge.data or ""), edge.conditional)


def _label(key: str, name: str, whole: bool) -> str:
    name = {"__start__": "start", "__end__": "end"}.get(key, name)
    return ": ".join([*key.split(":")[:-1], name]) if whole else name
