"""How many lanes stand side by side, and how many lines each gets. Arithmetic only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Shape", "columns_for", "shape_for", "share_lines"]

NARROWEST = 28
"""Cells below which a lane is too narrow to read: a line of verse still fits."""

LOWEST = 4
"""Lines below which a row of lanes says nothing: two of border, two of text."""


class Shape(NamedTuple):
    """A grid of lanes: how many in a row, how wide each, how many rows fit on the screen."""

    columns: int
    width: int
    rows: int


def columns_for(count: int, width: int) -> int:
    """How many of ``count`` lanes stand side by side in ``width`` cells; 1 stacks them."""
    return max(1, min(count, width // NARROWEST))


def shape_for(count: int, width: int, height: int) -> Shape:
    """The grid for ``count`` lanes on a screen of ``width`` x ``height`` cells."""
    columns = columns_for(count, width)
    rows = -(-count // columns)
    return Shape(columns, width // columns, min(rows, max(1, height // LOWEST)))


def share_lines(wanted: Sequence[int], height: int) -> list[int]:
    """Share ``height`` lines among rows that want so many: small ones get all, the rest alike."""
    given = [0] * len(wanted)
    left = height
    smallest_first = sorted(range(len(wanted)), key=lambda row: wanted[row])
    for place, row in enumerate(smallest_first):
        given[row] = min(wanted[row], left // (len(wanted) - place))
        left -= given[row]
    return given
