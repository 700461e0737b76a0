"""Reads the body of a client's request for a run in LangGraph's API. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenweir.serving.langgraph.frames import recorded_modes, wire_modes
from tokenweir.serving.langgraph.schema.runs import RunCreate
from tokenweir.serving.running.configs import fork_of
from tokenweir.serving.running.records import Assistant, RunRequest

__all__ = ["Asked", "asked_of"]

_DURING = {None: "sync", True: "async", False: "exit"}
"""The durability for values of the older ``checkpoint_during``."""


@dataclass(frozen=True)
class Asked:
    """A run that a client asks for.

    Attributes:
        request: What to run.
        assistant_id: The assistant whose config is used.
        strategy: What to do when the thread is busy.
        metadata: Kept with the run.
        after_seconds: How long to wait first.
        makes_thread: Whether a missing thread is created.
        keeps: Whether the thread is kept if it is created for this run.
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
        body: The body, as LangGraph's clients send it.
        assistant: The assistant that it names.
        also: One more stream mode to record.
    """
    modes = wire_modes(body.stream_mode)
    checkpoint = body.checkpoint
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
        checkpoint_id=body.checkpoint_id
        or (checkpoint.checkpoint_id if checkpoint else None)
        or fork_of(body.config),
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
