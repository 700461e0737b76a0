"""Which messages of a stream are void, because what made them failed and was done again.

A node with a retry policy, ``with_retry`` and ``with_fallbacks`` make a message anew, under another
id, when an attempt fails after some of its tokens. No state will hold the message of the failed
attempt. So the stream retracts it, before its replacement comes.

What LangGraph and LangChain do, each with a test:

- All attempts of a node have the same ``langgraph_checkpoint_ns``, and each is a run of its own.
  The nodes of a subgraph have one below: ``outer:1|inner:2``.
- The subgraphs that a node runs start over in its next attempt, with a checkpointer, too.
- A node that fails ends its graph's run, unless it is tried again, or has a node that handles its
  error: that one runs below the failed task. A ``GraphBubbleUp`` is no failure.
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
    """What one model call, or one node, has shown."""

    def retract(self) -> None:
        """Tell the reader that the messages which were shown are void."""


class _Task:
    """One task of a graph, through all attempts of its node.

    Attributes:
        below: The tasks of the subgraphs that it runs.
        run_id: Of the attempt that is under way.
        lost: Whether the last attempt failed.
        shown: What the runs of this attempt have shown.
        parents: The runs that are parts of this attempt, and what each is a part of.
        failed: The calls that failed and left their callers nothing.
        failed_parts: The calls in parts that failed, by the run whose part that was.
        repeating: The runs that do such a part again.
    """

    def __init__(self, name: str, above: _Task | None) -> None:
        self.name = name
        self.above = above
        self.below: dict[str, _Task] = {}
        self.begin(None)

    def begin(self, run_id: UUID | None) -> None:
        """An attempt begins."""
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
        """Retract all that this attempt has shown."""
        for each in list(self.shown.values()):
            each.retract()

    def retract_failed(self) -> None:
        """Retract what failed calls have shown."""
        for run_id in self.failed:
            if (shown := self.shown.pop(run_id, None)) is not None:
                shown.retract()
        self.failed = set()

    def retract_below(self) -> None:
        """Retract what the tasks below have shown, and forget them."""
        for task in list(self.below.values()):
            for each in task.walk():
                each.retract()
        self.below.clear()

    def parts_of(self, whole: UUID) -> set[UUID]:
        """The calls that are parts of a run."""
        found = set()
        for run_id in list(self.shown):
            part: UUID | None = run_id
            while part is not None and part != whole:
                part = self.parents.get(part)
            if part is not None:
                found.add(run_id)
        return found


class Attempts:
    """Follows the attempts of one run's nodes and model calls, and retracts what they void."""

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
        """A node, or a part of one, begins."""
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
        """A call, or a node, begins; this retracts its messages, if they are streamed."""
        if shown is not None and (task := self._runs.get(run_id)) is not None:
            task.shown[run_id] = shown

    def ended(self, run_id: UUID) -> None:
        """A run has ended well."""
        task = self._runs.pop(run_id, None)
        if task is None or task.run_id != run_id:
            return
        task.run_id = None
        for each in task.walk():
            each.retract_failed()
        if task.above is self._top:
            self._top.below.pop(task.name, None)

    def call_failed(self, run_id: UUID, response: LLMResult | None) -> None:
        """A model call has failed."""
        task = self._runs.pop(run_id, None)
        streamed = response is not None and len(response.generations) > 1
        if task is not None and not streamed:
            task.failed.add(run_id)

    def run_failed(self, run_id: UUID, error: BaseException, *, streamed: bool) -> None:
        """A node, or a part of one, has failed."""
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
