"""Which messages of a stream are void because their attempt failed and was repeated.

If an attempt fails after some tokens, a node with a retry policy, ``with_retry`` and
``with_fallbacks`` make a new message with another id. No state will hold the message of the failed
attempt. So the stream retracts it before its replacement.

What LangGraph and LangChain do, each with a test:

- All attempts of a node have the same ``langgraph_checkpoint_ns``, and each is a separate run.
  The nodes of a subgraph have one below: ``outer:1|inner:2``.
- The subgraphs that a node runs start over in its next attempt, even with a checkpointer.
- A node that fails ends its graph's run, unless it is retried or has a node that handles its
  error: that one runs below the failed task. A ``GraphBubbleUp`` is not a failure.
- ``with_retry`` and ``with_fallbacks`` are runs whose children are the attempts. ``with_retry``
  tags the second and later ones; the run of ``with_fallbacks`` is named ``RunnableWithFallbacks``.
- A failed ``ainvoke`` leaves its caller without the message, a failed ``astream`` with its chunks.
  The response that ``on_llm_error`` is given holds those chunks; ``on_chain_error`` is given
  ``inputs`` if the run was streamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol
from uuid import UUID

from langchain_core.outputs import LLMResult
from langgraph.errors import GraphBubbleUp

__all__ = ["Attempts", "Retractable"]


class Retractable(Protocol):
    """The messages that one model call or one node has shown."""

    def retract(self) -> None:
        """Tell the reader that these messages are void."""


class _Task:
    """One task of a graph, through all attempts of its node.

    Attributes:
        below: The tasks of its subgraphs.
        run_id: The run of the current attempt.
        lost: Whether the last attempt failed.
        shown: The messages shown by the runs of this attempt.
        parents: The runs inside this attempt, each with its parent.
        failed: The calls that failed and gave their callers nothing.
        failed_parts: The calls in failed child runs, by the parent run.
        repeating: The runs that repeat such a child run.
    """

    def __init__(self, name: str, above: _Task | None) -> None:
        self.name = name
        self.above = above
        self.below: dict[str, _Task] = {}
        self.begin(None)

    def begin(self, run_id: UUID | None) -> None:
        """Start an attempt."""
        self.run_id = run_id
        self.lost = False
        self.shown: dict[UUID, Retractable] = {}
        self.parents: dict[UUID, UUID | None] = {}
        self.failed: set[UUID] = set()
        self.failed_parts: dict[UUID | None, set[UUID]] = {}
        self.repeating: set[UUID | None] = set()

    def walk(self) -> Iterator[_Task]:
        """This task, and those below."""
        yield self
        for task in list(self.below.values()):
            yield from task.walk()

    def retract(self) -> None:
        """Retract everything that this attempt has shown."""
        for each in list(self.shown.values()):
            each.retract()

    def retract_failed(self) -> None:
        """Retract the messages of failed calls."""
        for run_id in self.failed:
            if (shown := self.shown.pop(run_id, None)) is not None:
                shown.retract()
        self.failed = set()

    def retract_below(self) -> None:
        """Retract the messages of the tasks below, and forget these tasks."""
        for task in list(self.below.values()):
            for each in task.walk():
                each.retract()
        self.below.clear()

    def parts_of(self, whole: UUID) -> set[UUID]:
        """The calls inside a run."""
        found = set()
        for run_id in list(self.shown):
            part: UUID | None = run_id
            while part is not None and part != whole:
                part = self.parents.get(part)
            if part is not None:
                found.add(run_id)
        return found


class Attempts:
    """Follows the attempts of one run's nodes and model calls, and retracts void messages."""

    def __init__(self) -> None:
        self._top = _Task("", None)
        self._runs: dict[UUID, _Task] = {}

    def starts(
        self,
        run_id: UUID,
        *,
        parent_run_id: UUID | None = None,
        name: str | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note that a node, or a run inside one, starts."""
        metadata = metadata or {}
        place = metadata.get("langgraph_checkpoint_ns")
        if not place:
            return
        above = self._top
        *path, last = place.split("|")
        for segment in path:
            above = above.below.get(segment) or above.below.setdefault(
                segment, _Task(segment, above)
            )
        task = above.below.get(last)
        if (task is None or task.run_id is None) and name == metadata.get("langgraph_node"):
            task = self._next_attempt(task, last, above)
            task.begin(run_id)
        elif task is not None:
            task.parents[run_id] = parent_run_id
            if name == "RunnableWithFallbacks":
                task.repeating.add(run_id)
            if parent_run_id in task.repeating or _is_retry(tags):
                task.failed |= task.failed_parts.pop(parent_run_id, set())
            if task.failed:
                task.retract_failed()
        if task is not None:
            self._runs[run_id] = task

    def _next_attempt(self, task: _Task | None, name: str, above: _Task) -> _Task:
        if above.lost:  # this node handles its error
            above.retract()
        if task is None:
            task = above.below[name] = _Task(name, above)
        else:
            task.retract()
            task.retract_below()
        return task

    def shows(self, run_id: UUID, shown: Retractable | None) -> None:
        """Note that a call or a node starts; ``shown`` retracts its messages, if streamed."""
        if shown is not None and (task := self._runs.get(run_id)) is not None:
            task.shown[run_id] = shown

    def ended(self, run_id: UUID) -> None:
        """Note that a run has succeeded."""
        task = self._runs.pop(run_id, None)
        if task is None or task.run_id != run_id:
            return
        task.run_id = None
        for each in task.walk():
            each.retract_failed()
        if task.above is self._top:
            self._top.below.pop(task.name, None)

    def call_failed(self, run_id: UUID, response: LLMResult | None) -> None:
        """Note that a model call has failed."""
        task = self._runs.pop(run_id, None)
        streamed = response is not None and len(response.generations) > 1
        if task is not None and not streamed:
            task.failed.add(run_id)

    def run_failed(self, run_id: UUID, error: BaseException, *, streamed: bool) -> None:
        """Note that a node, or a run inside one, has failed."""
        if isinstance(error, GraphBubbleUp):
            self.ended(run_id)
            return
        task = self._runs.pop(run_id, None)
        if task is None:
            return
        if task.run_id == run_id:
            task.run_id = None
            task.lost = True
        elif not streamed and (parts := task.parts_of(run_id)):
            task.failed_parts.setdefault(task.parents.get(run_id), set()).update(parts)


def _is_retry(tags: list[str] | None) -> bool:
    return any(tag.startswith("retry:attempt:") for tag in tags or ())
