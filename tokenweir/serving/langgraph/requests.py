"""What a client of LangGraph's API asks a run to do, read from the body of its request. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenweir.serving.http.bodies import choice, field
from tokenweir.serving.langgraph.frames import recorded_modes, wire_modes
from tokenweir.serving.problems import InvalidError
from tokenweir.serving.running.records import Assistant, RunRequest

__all__ = ["Asked", "asked_of"]

_LATEST = 86_400
_STRATEGIES = ("enqueue", "reject", "interrupt", "rollback")


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


def asked_of(body: dict[str, Any], assistant: Assistant, also: str | None = None) -> Asked:
    """Read a body. Fields that are not known are left alone, as LangGraph's own server does.

    Args:
        body: As LangGraph's clients send it.
        assistant: The one that it names.
        also: A stream mode to record besides those asked for.

    Raises:
        InvalidError: For a field that cannot be understood, or that asks for what is not offered.
    """
    if body.get("webhook") is not None:
        raise InvalidError("this server does not offer webhooks; join the run instead")
    modes = wire_modes(body.get("stream_mode"))
    checkpoint = field(body, "checkpoint", dict) or {}
    checkpoint_id = field(body, "checkpoint_id", str) or field(checkpoint, "checkpoint_id", str)
    request = RunRequest(
        graph=assistant.graph,
        input=body.get("input"),
        command=field(body, "command", dict),
        config=field(body, "config", dict) or {},
        context=body.get("context"),
        modes=recorded_modes([*modes, also] if also else modes),
        asked=modes,
        subgraphs=field(body, "stream_subgraphs", bool) or False,
        only=field(body, "only", str),
        interrupt_before=_nodes(body, "interrupt_before"),
        interrupt_after=_nodes(body, "interrupt_after"),
        durability=_durability(body),
        checkpoint_id=checkpoint_id,
    )
    return Asked(
        request=request,
        assistant_id=assistant.id,
        strategy=choice(body, "multitask_strategy", *_STRATEGIES),
        metadata=field(body, "metadata", dict) or {},
        after_seconds=_seconds(body),
        makes_thread=choice(body, "if_not_exists", "reject", "create") == "create",
        keeps=choice(body, "on_completion", "delete", "keep") == "keep",
        leaves=choice(body, "on_disconnect", "continue", "cancel") == "cancel",
    )


def _durability(body: dict[str, Any]) -> str:
    during = field(body, "checkpoint_during", bool)  # the older name
    default = {None: "sync", True: "async", False: "exit"}[during]
    asked = choice(body, "durability", "sync", "async", "exit")
    return default if body.get("durability") is None else asked


def _seconds(body: dict[str, Any]) -> float:
    value = body.get("after_seconds") or 0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LATEST:
        raise InvalidError(f"after_seconds is a number from 0 to {_LATEST}")
    return value


def _nodes(body: dict[str, Any], name: str) -> list[str] | str | None:
    value = body.get(name)
    if value is None or value == "*":
        return value
    if isinstance(value, list) and all(isinstance(node, str) for node in value):
        return value
    raise InvalidError(f'{name} is "*" or a list of nodes')
