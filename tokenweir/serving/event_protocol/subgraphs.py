"""Derives when subgraphs start and end from the tasks of a run. No I/O."""

from __future__ import annotations

from typing import Any

__all__ = ["Subgraphs"]

Namespace = tuple[str, ...]


class Subgraphs:
    """The subgraphs of one run.

    Attributes:
        tree: The last ``lifecycle`` data of each subgraph, by namespace.
    """

    def __init__(self) -> None:
        self.tree: dict[Namespace, dict[str, Any]] = {}
        self._calls: dict[str, str] = {}
        """The tool call that each task carries out, by task id."""

    def feed(self, namespace: Namespace, task: dict[str, Any]) -> list[tuple[Namespace, Any]]:
        """The ``lifecycle`` events, as namespaces and data, for the start or result of a task."""
        if "result" not in task:
            self._note_call(task)
            if namespace and namespace not in self.tree:
                return [(namespace, self._begun(namespace, task))]
            return []
        place = f":{task.get('id')}"
        return [
            (below, self._over(below, *_state(task)))
            for below in self._open()
            if below[:-1] == namespace and below[-1].endswith(place)
        ]

    def end(self, status: str) -> list[tuple[Namespace, Any]]:
        """End all open subgraphs, as the run has ended."""
        return [(below, self._over(below, status, None)) for below in self._open()]

    def _open(self) -> list[Namespace]:
        return [each for each, about in self.tree.items() if about["event"] == "started"]

    def _note_call(self, task: dict[str, Any]) -> None:
        given = task.get("input")
        call = given.get("tool_call") if isinstance(given, dict) else None
        if isinstance(call, dict) and isinstance(call.get("id"), str):
            self._calls[str(task.get("id"))] = call["id"]

    def _begun(self, namespace: Namespace, task: dict[str, Any]) -> dict[str, Any]:
        node, _, parent = namespace[-1].partition(":")
        agent = (task.get("metadata") or {}).get("lc_agent_name")
        told = {"event": "started", "namespace": list(namespace), "graph_name": agent or node}
        if parent:
            told["trigger_call_id"] = parent
        if agent and parent in self._calls:
            told["cause"] = {"type": "toolCall", "tool_call_id": self._calls[parent]}
        self.tree[namespace] = told
        return told

    def _over(self, namespace: Namespace, status: str, error: str | None) -> dict[str, Any]:
        name = self.tree[namespace]["graph_name"]
        told = {"event": status, "namespace": list(namespace), "graph_name": name}
        if error is not None:
            told["error"] = error
        self.tree[namespace] = told
        return told


def _state(task: dict[str, Any]) -> tuple[str, str | None]:
    if task.get("interrupts"):
        return "interrupted", None
    error = task.get("error")
    return ("failed", str(error)) if error else ("completed", None)
