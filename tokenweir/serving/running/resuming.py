"""Finds out how far a run got before a crash: which tasks are done, which messages are unfinished.

A node that had not finished runs again, and its model answers anew under other ids. Clients that
collect messages must drop what it had written before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from langgraph.pregel import Pregel

from tokenweir.serving.log.events import EventLog
from tokenweir.serving.running.records import Run

__all__ = ["Progress", "progress_of"]


@dataclass
class Progress:
    """How far a run got before its process died."""

    fresh: bool = False
    """Whether no checkpoint exists, so that the run starts again with its input."""
    over: bool = False
    """Whether all is done, and only the end was not recorded."""
    void: list[tuple[str, str, Any]] = field(default_factory=list)
    """Kind, message id and metadata of the messages to retract."""


async def progress_of(run: Run, graph: Any, config: Any, log: EventLog, kept: int) -> Progress:
    """Read the checkpoints of a resumed run, and its events up to the id ``kept``."""
    messages, attempt = await _messages(run, log, kept)
    if not isinstance(graph, Pregel):
        return Progress(fresh=True, void=list(messages.values()))
    snapshot = await graph.aget_state(config, subgraphs=True)
    about = snapshot.metadata or {}
    if about.get("run_id") != run.id:
        return Progress(fresh=True, void=list(messages.values()))
    if not snapshot.tasks:  # ``next`` omits tasks that have ended in a step that has not
        return Progress(over=True)
    if run.request.durability == "exit":
        # The only checkpoint is that of the step at which the server asked the run to stop.
        if about.get("run_attempt", 1) != attempt:
            return Progress(void=list(messages.values()))
        cut = set[str]()
        _cut_off(snapshot, "", cut)
        return Progress(void=[each for each in messages.values() if _covered(_path(each[2]), cut)])
    done = set[str]()
    async for older in graph.aget_state_history(config):
        if (older.metadata or {}).get("run_id") != run.id and older.next:
            done |= {f"{task.name}:{task.id}" for task in older.tasks}
            break
        if older.config != snapshot.config:
            done |= {f"{task.name}:{task.id}" for task in older.tasks}
    await _finished(graph, snapshot, "", done)
    return Progress(void=[each for each in messages.values() if not _covered(_path(each[2]), done)])


def _cut_off(snapshot: Any, above: str, cut: set[str]) -> None:
    """Collect the paths of tasks that have to run again, as deep as checkpoints tell.

    Tasks that wait at an interrupt are included: LangGraph runs them again up to the interrupt.
    """
    for task in snapshot.tasks:
        path = f"{above}{task.name}:{task.id}"
        if task.result is not None:
            continue
        if getattr(task.state, "metadata", None):
            _cut_off(task.state, f"{path}|", cut)
        else:
            cut.add(path)


async def _finished(graph: Any, snapshot: Any, above: str, done: set[str]) -> None:
    """Collect the paths of tasks done since the newest checkpoint; waiting tasks are not done."""
    for task in snapshot.tasks:
        path = f"{above}{task.name}:{task.id}"
        if task.result is not None:
            done.add(path)
        elif task.state is not None and not isinstance(task.state, dict):
            where = dict(task.state.config["configurable"])
            where.pop("checkpoint_id", None)  # all checkpoints, not only this one
            async for older in graph.aget_state_history({"configurable": where}):
                if older.config != task.state.config:
                    done |= {f"{path}|{each.name}:{each.id}" for each in older.tasks}
            await _finished(graph, task.state, f"{path}|", done)


async def _messages(
    run: Run, log: EventLog, kept: int
) -> tuple[dict[tuple[str, str], tuple[str, str, Any]], int]:
    """The messages of a run's last attempt, by kind and id, without retracted ones; its number.

    Messages of earlier attempts that were not retracted then are final.
    """
    found: dict[tuple[str, str], tuple[str, str, Any]] = {}
    attempt = 1
    if not kept:
        return found, attempt
    async for events in log.follow(run.id):
        for event in events:
            if event.kind == "metadata":
                attempt = event.value["attempt"]
                found.clear()
            elif (token := event.token) is not None and _has_id(token[0]):
                message, metadata = token
                key = (event.kind, message["id"])
                if message.get("type") == "remove":
                    found.pop(key, None)
                else:
                    found.setdefault(key, (event.kind, message["id"], metadata))
        if events[-1].id >= kept:
            break
    return found, attempt


def _has_id(message: Any) -> bool:
    return isinstance(message, dict) and isinstance(message.get("id"), str) and "type" in message


def _path(metadata: dict[str, Any]) -> str:
    return str(metadata.get("langgraph_checkpoint_ns") or metadata.get("checkpoint_ns") or "")


def _covered(path: str, done: set[str]) -> bool:
    """Whether the task at a path, or one that contains it, is done."""
    parts = path.split("|")
    return any("|".join(parts[: count + 1]) in done for count in range(len(parts)))
