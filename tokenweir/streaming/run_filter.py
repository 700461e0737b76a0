"""The filter of one run, which remembers what it turned away.

A filter that nothing passes gives an empty stream, as a graph that says nothing does. So a run
whose model calls were all turned away ends with a warning that names them.
"""

from __future__ import annotations

import warnings
from typing import Any

from tokenweir.errors import UnmatchedFilterWarning
from tokenweir.streaming.content import tags_of
from tokenweir.streaming.filters import Filter, FilterLike, as_filter, from_model, from_node, tag
from tokenweir.types import ReadOnlyMetadata

__all__ = ["RunFilter", "run_filter"]

_MOST = 20
"""Names in the warning."""


class RunFilter:
    """A filter, asked during one run: once per model call, or once per part where those come late.

    Attributes:
        filter: The filter itself, which remembers nothing.
    """

    __slots__ = ("_passed", "_refused", "filter")

    def __init__(self, filter: Filter) -> None:
        self.filter = filter
        self._passed = False
        self._refused: dict[str, None] = {}  # a set that keeps its order

    def decide(self, metadata: ReadOnlyMetadata) -> bool | None:
        """As ``Filter.decide``, for a model call."""
        decided = self.filter.decide(metadata)
        self._note(metadata, decided)
        return decided

    def __call__(self, metadata: ReadOnlyMetadata, chunk: Any) -> bool:
        """Whether this chunk of a call passes."""
        if not self._passed:
            self.decide(metadata)
        return self.filter(metadata, chunk)

    def _note(self, metadata: ReadOnlyMetadata, decided: bool | None) -> None:
        # A call of which some chunks may pass was not turned away, whatever it says.
        if decided is not False:
            self._passed = True
        elif not self._passed and len(self._refused) < _MOST:
            self._refused.update(dict.fromkeys(_names(metadata)))

    def warn(self, stacklevel: int) -> None:
        """At the end of a run: warn if it had model calls and none of them passed."""
        if not self._passed and self._refused:
            there = ", ".join([*self._refused][:_MOST])
            more = ", ..." if len(self._refused) >= _MOST else ""
            warnings.warn(
                f"nothing passed the filter {self.filter}; there were {there}{more}",
                UnmatchedFilterWarning,
                stacklevel=stacklevel + 1,
            )


def run_filter(only: FilterLike | None) -> RunFilter | None:
    """The filter that a caller meant, for one run; None, which everything passes, stays None."""
    found = as_filter(only)
    return None if found is None else RunFilter(found)


def _names(metadata: ReadOnlyMetadata) -> list[str]:
    """The filters that a call passes: its tags, its node, its model."""
    filters = [tag(name) for name in tags_of(metadata)]
    if node := metadata.get("langgraph_node"):
        filters.append(from_node(str(node)))
    if model := metadata.get("ls_model_name"):
        filters.append(from_model(str(model)))
    return [str(each) for each in filters]
