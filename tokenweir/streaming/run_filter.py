"""The filter of one run, which remembers the calls that it rejected.

A filter that passes nothing gives an empty stream, and so does a graph that writes nothing. To tell
them apart, a run whose model calls were all rejected ends with a warning. It names these calls, or,
if calls in subgraphs would have passed but are not streamed, those subgraphs.
"""

from __future__ import annotations

import warnings
from typing import Any

from tokenweir.errors import UnmatchedFilterWarning
from tokenweir.streaming.content import tags_of
from tokenweir.streaming.filters import (
    Filter,
    FilterLike,
    as_filter,
    from_agent,
    from_model,
    from_node,
    tag,
)
from tokenweir.types import ReadOnlyMetadata

__all__ = ["RunFilter", "run_filter"]

_MOST = 20
"""The most names in the warning."""


class RunFilter:
    """A filter during one run. It is asked once per model call, or once per part of a pumped run.

    Attributes:
        filter: The filter itself, which remembers nothing.
    """

    __slots__ = ("_inside", "_passed", "_refused", "filter")

    def __init__(self, filter: Filter) -> None:
        self.filter = filter
        self._passed = False
        self._refused: dict[str, None] = {}  # a set that keeps its order
        self._inside: dict[str, None] = {}

    def decide(self, metadata: ReadOnlyMetadata) -> bool | None:
        """Like ``Filter.decide``, for a model call."""
        decided = self.filter.decide(metadata)
        self._note(metadata, decided)
        return decided

    def __call__(self, metadata: ReadOnlyMetadata, chunk: Any) -> bool:
        """Whether this chunk of a call passes."""
        if not self._passed:
            self.decide(metadata)
        return self.filter(metadata, chunk)

    def _note(self, metadata: ReadOnlyMetadata, decided: bool | None) -> None:
        # A call is not rejected if some of its chunks may pass, whatever they are.
        if decided is not False:
            self._passed = True
        elif not self._passed and len(self._refused) < _MOST:
            self._refused.update(dict.fromkeys(_names(metadata)))

    def not_streamed(self, metadata: ReadOnlyMetadata) -> None:
        """Note a call in a subgraph, which this stream does not include."""
        if not self._passed and self.filter.decide(metadata) is not False:
            path = str(metadata.get("langgraph_checkpoint_ns", "")).split("|")[:-1]
            self._inside["|".join(segment.partition(":")[0] for segment in path)] = None

    def unmatched(self) -> str | None:
        """At the end of a run that had model calls: what there was, if none of them passed."""
        if self._passed or not (self._refused or self._inside):
            return None
        if self._inside:
            found = f"the subgraph {', '.join(self._inside)} made calls that pass it: "
            found += "stream with subgraphs=True"
        else:
            found = f"there were {', '.join([*self._refused][:_MOST])}"
            found += ", ..." if len(self._refused) >= _MOST else ""
        return f"nothing passed the filter {self.filter}; {found}"

    def warn(self, stacklevel: int) -> None:
        """At the end of a run: warn if it had model calls and none of them passed."""
        if (unmatched := self.unmatched()) is not None:
            warnings.warn(unmatched, UnmatchedFilterWarning, stacklevel=stacklevel + 1)


def run_filter(only: FilterLike | None) -> RunFilter | None:
    """The filter of one run for an ``only=`` argument; None stays None."""
    found = as_filter(only)
    return None if found is None else RunFilter(found)


def _names(metadata: ReadOnlyMetadata) -> list[str]:
    """The filters that a call passes: its tags, its agent, its node, its model."""
    filters = [tag(name) for name in tags_of(metadata)]
    if agent := metadata.get("lc_agent_name"):
        filters.append(from_agent(str(agent)))
    if node := metadata.get("langgraph_node"):
        filters.append(from_node(str(node)))
    if model := metadata.get("ls_model_name"):
        filters.append(from_model(str(model)))
    return [str(each) for each in filters]
