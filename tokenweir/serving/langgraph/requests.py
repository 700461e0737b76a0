"""What a client of LangGraph's API asks a run to do, read from the body of its request. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenweir.serving.langgraph.frames import recorded_modes, wire_modes
from tokenweir.serving.langgraph.schema.runs import RunCreate
from tokenweir.serving.running.records import Assistant, RunRequest

__all__ = ["Asked", "asked_of"]

_DURING = {None: "sync", True: "async", False: "exit"}
"""The durability that the older ``checkpoint_during`` asks for."""


@dataclass(frozen=True)
class Asked:
    """One run that somebody asks for.

    Attributes:
        request: What to do.
        assistant_id: Whose config to add.
        strategy: What to do when the thread is busy.
        metadata: Kept with the run.
        after_seconds: How long to wait first.
        makes_thread: Whether a thread that is not there is made.
        keeps: Whether the thread of a run without one stays.
        leaves: Whether the run stops when the connection that started it ends.
    """

    request: RunRequest
    assistant_id: str
    strategy: str
    metadata: dict[str, Any]
    after_seconds: float
    makes_thread: bool
    keeps: bool
    leaves: bool


def asked_of(body: RunCreate, assistant: Assistant, also: str | None = None) -> Asked:
    """Read a body.

    Args:
        body: As LangGraph's clients send it.
        assistant: The one that it names.
        also: A stream mode to record besides those asked for.
    """
    modes = wire_modes(body.stream_mode)
    place = body.checkpoint
    request = RunRequest(
        graph=assistant.graph,
        input=body.input,
        command=body.command,
        config=body.config or {},
        context=body.context,
        modes=recorded_modes([*modes, also] if also else modes),
        asked=modes,
        subgraphs=body.stream_subgraphs or False,
        only=body.only,
        interrupt_before=body.interrupt_before,
        interrupt_after=body.interrupt_after,
        durability=body.durability or _DURING[body.checkpoint_during],
        checkpoint_id=body.checkpoint_id or (place.checkpoint_id if place else None),
    )
    return Asked(
        request=request,
        assistant_id=assistant.id,
        strategy=body.multitask_strategy or "enqueue",
        metadata=body.metadata or {},
        after_seconds=body.after_seconds or 0,
        makes_thread=body.if_not_exists == "create",
        keeps=body.on_completion == "keep",
        leaves=body.on_disconnect == "cancel",
    )
