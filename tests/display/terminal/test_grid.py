"""How lanes share a screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenweir.display.terminal.live import Shape, columns_for, shape_for, share_lines


@pytest.mark.parametrize(
    ("count", "width", "height", "shape"),
    [
        (1, 80, 24, Shape(1, 80, 1)),
        (2, 80, 24, Shape(2, 40, 1)),
        (3, 80, 24, Shape(2, 40, 2)),
        (3, 84, 24, Shape(3, 28, 1)),
        (2, 55, 24, Shape(1, 55, 2)),
        (2, 1, 24, Shape(1, 1, 2)),
        (40, 80, 24, Shape(2, 40, 6)),
        (40, 80, 1, Shape(2, 40, 1)),
    ],
)
def test_the_shape(count: int, width: int, height: int, shape: Shape) -> None:
    """As many in a row as can be read, as many rows as say something, never none."""
    assert shape_for(count, width, height) == shape


@given(st.integers(1, 100), st.integers(1, 400))
def test_columns_fit(count: int, width: int) -> None:
    """There is at least one column, no more than lanes, and together no wider than the screen."""
    columns = columns_for(count, width)
    assert 1 <= columns <= count
    assert columns * (width // columns) <= width


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 100))
def test_lines_are_shared(wanted: list[int], height: int) -> None:
    """No row gets more than it wants, no line is wasted, and who wants more has as many as any."""
    given = share_lines(wanted, height)
    assert all(got <= want for got, want in zip(given, wanted, strict=True))
    assert sum(given) == min(sum(wanted), height)
    short = [got for got, want in zip(given, wanted, strict=True) if got < want]
    assert not short or max(given) <= min(short) + 1  # what cannot be divided goes to the last
