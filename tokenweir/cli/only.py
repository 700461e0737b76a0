"""``--only``: the filters of a command line as one, which remembers what it turned away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenweir.streaming.filters import Filter, from_node, parse_filter, tag
from tokenweir.streaming.pieces import tags_of

__all__ = ["Only"]


class Only:
    """Passes the calls that any of the filters passes.

    Raises:
        FilterError: For a text that is no filter.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        first, *others = map(parse_filter, texts)
        for other in others:
            first = first | other
        self._filter: Filter = first
        self._passed = False
        self._refused: dict[str, None] = {}  # a set that keeps its order

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        if self._filter(metadata):
            self._passed = True
            return True
        self._refused.update(dict.fromkeys(_names(metadata)))
        return False

    def complaint(self) -> str | None:
        """Why nothing was shown, after a run that had tokens and showed none."""
        if self._passed or not self._refused:
            return None
        return f"no model call passed {self._filter}; there were {', '.join(self._refused)}"


def _names(metadata: Mapping[str, Any]) -> list[str]:
    """What passes a call: its tags, else its node, as they are written after ``--only``."""
    found = [tag(name) for name in tags_of(metadata)]
    if not found and (node := metadata.get("langgraph_node")):
        found = [from_node(str(node))]
    return [str(each) for each in found]
