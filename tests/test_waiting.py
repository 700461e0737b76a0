"""No test waits for time to pass."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent


def sleeps(path: Path) -> Iterator[str]:
    """The places of a file that sleep; ``sleep(0)`` only lets others have their turn."""
    for found in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(found, ast.Call):
            continue
        name = found.func.attr if isinstance(found.func, ast.Attribute) else None
        if name == "sleep" and [ast.unparse(each) for each in found.args] != ["0"]:
            yield f"{path.relative_to(TESTS)}:{found.lineno}: {ast.unparse(found)}"


def test_nothing_sleeps() -> None:
    """Sleeping stands in ``tests/waiting.py`` alone, whose functions say what they wait for."""
    places = [place for path in sorted(TESTS.rglob("*.py")) for place in sleeps(path)]
    assert [place for place in places if not place.startswith("waiting.py:")] == []
    assert len(places) == 3  # the search does find some
