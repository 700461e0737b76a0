"""Reports the running nodes of a run as AG-UI's steps and subagents. No I/O.

The protocol allows only one open step per name, but a node may run many times in parallel. Its step
lasts from the start of the first task to the end of the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenweir.encoders.parts import frame

__all__ = ["Steps"]


class Steps:
    """Takes the events of LangGraph's ``tasks`` mode."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, str], set[str]] = {}
        """By owner and node: the running tasks."""
        self._subagents: dict[str, bool] = {}
        """By the task that a subgraph runs in; True while it is running."""

    def feed(self, task: Mapping[str, Any], namespace: Sequence[str]) -> bytes:
        """What to write when a task starts or ends."""
        owner = namespace[-1].rpartition(":")[2] if namespace else ""
        step = owner, str(task.get("name"))
        if "input" in task or "triggers" in task:
            written = self._subagent(namespace)
            if step not in self._steps:
                written += _step("STEP_STARTED", step)
            self._steps.setdefault(step, set()).add(task["id"])
            return written
        written = b""
        if self._subagents.get(task["id"]):
            written = self._close(task["id"], task)
        tasks = self._steps.get(step, set())
        tasks.discard(task["id"])
        if step in self._steps and not tasks:
            del self._steps[step]
            written += _step("STEP_FINISHED", step)
        return written

    def reset(self) -> bytes:
        """End the steps, as the run is resumed. Subagents continue, as their ids are the same."""
        written = b"".join(_step("STEP_FINISHED", step) for step in reversed(self._steps))
        self._steps.clear()
        return written

    def end(self) -> bytes:
        """End all steps and subagents, as the run has ended."""
        at_work = [owner for owner, works in self._subagents.items() if works]
        return b"".join(self._close(owner, {}) for owner in reversed(at_work)) + self.reset()

    def _subagent(self, namespace: Sequence[str]) -> bytes:
        written, above = b"", ""
        for segment in namespace:
            name, _, task = segment.rpartition(":")
            if task not in self._subagents:
                self._subagents[task] = True
                begun = {"type": "SUBAGENT_STARTED", "subagentRunId": task, "name": name or task}
                written += frame({**begun, **({"parentSubagentRunId": above} if above else {})})
            above = task
        return written

    def _close(self, owner: str, task: Mapping[str, Any]) -> bytes:
        self._subagents[owner] = False
        written = b""
        for step in [step for step in self._steps if step[0] == owner]:
            del self._steps[step]
            written += _step("STEP_FINISHED", step)
        ended: dict[str, Any] = {"type": "SUBAGENT_FINISHED", "subagentRunId": owner}
        if error := task.get("error"):
            ended = {"type": "SUBAGENT_ERROR", "subagentRunId": owner, "message": str(error)}
        elif asked := [each["id"] for each in task.get("interrupts") or ()]:
            ended["outcome"] = {"type": "suspended", "interruptIds": asked}
        return written + frame(ended)


def _step(kind: str, step: tuple[str, str]) -> bytes:
    owner, name = step
    return frame({"type": kind, "stepName": name, **({"subagentRunId": owner} if owner else {})})
