"""Requests and responses of the event protocol, as in ``langchain_protocol``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from tokenweir.serving.fields import said
from tokenweir.serving.running.records import Config

__all__ = [
    "CheckpointsAsked",
    "CommandAnswer",
    "Fork",
    "Inject",
    "Reconnect",
    "Response",
    "Responses",
    "RunStart",
    "StateAsked",
    "ThreadCommand",
    "ThreadEventsAsked",
    "TreeAsked",
]

_Number = Annotated[int, Meta(ge=0)]
_Namespace = Annotated[list[str], said("The path of a subgraph; empty for the graph itself.")]
_Strategy = Annotated[
    Literal["enqueue", "reject", "interrupt", "rollback"] | None,
    said("What to do while the thread is busy."),
]


class ThreadEventsAsked(Struct, kw_only=True):
    """Which events of a thread to stream."""

    channels: Annotated[
        list[str],
        said(
            "values, updates, messages, tools, lifecycle, input, checkpoints, tasks, custom, or "
            "custom:NAME."
        ),
    ]
    namespaces: Annotated[
        list[list[str]] | None, said("Only these subgraphs, and those below; without it, all.")
    ] = None
    depth: Annotated[_Number | None, said("How many levels below; without it, all.")] = None
    since: Annotated[
        _Number | None,
        said("The last `seq` received: continue after it. Without it, start with the last run."),
    ] = None
    replay: Annotated[
        Literal["compact", "full"] | None,
        said(
            "How to replay earlier events of a run without `since`: `compact` sends each message "
            "as one, `full` sends every event. The default is `full`."
        ),
    ] = None


class ThreadCommand(Struct, kw_only=True):
    """A command."""

    id: Annotated[_Number, said("Returned with the answer.")]
    method: Annotated[
        str,
        said(
            "run.start, input.respond, input.inject, state.get, state.listCheckpoints, state.fork "
            "or agent.getTree."
        ),
    ]
    params: dict[str, Any] = {}


class CommandAnswer(Struct, kw_only=True, omit_defaults=True):
    """The answer to a command."""

    type: Literal["success", "error"]
    id: int | None
    result: Any = None
    error: Annotated[str | None, said("The code of the error.")] = None
    message: str | None = None
    meta: Annotated[
        dict[str, Any] | None, said("`applied_through_seq`: the last `seq` before the command.")
    ] = None


class Reconnect(Struct, kw_only=True):
    run_id: str
    last_event_id: str | None = None
    subscriptions: list[str] = []


class RunStart(Struct, kw_only=True):
    assistant_id: str
    input: Any = None
    config: Config | None = None
    metadata: dict[str, Any] | None = None
    only: str | None = None
    context: Any = None
    multitask_strategy: _Strategy = "enqueue"


class Response(Struct, kw_only=True):
    interrupt_id: str
    response: Any = None
    namespace: _Namespace = []


class Responses(Struct, kw_only=True):
    """One answer, or several."""

    responses: list[Response] | None = None
    interrupt_id: str | None = None
    response: Any = None
    namespace: _Namespace = []
    update: Any = None
    goto: str | dict[str, Any] | list[str | dict[str, Any]] | None = None
    config: Config | None = None
    metadata: dict[str, Any] | None = None

    @property
    def by_interrupt(self) -> dict[str, Any]:
        """The answers by interrupt id."""
        if self.responses is not None:
            return {each.interrupt_id: each.response for each in self.responses}
        return {} if self.interrupt_id is None else {self.interrupt_id: self.response}


class _Said(Struct, kw_only=True):
    role: Literal["user", "system"]
    content: str
    name: str | None = None


class Inject(Struct, kw_only=True):
    message: _Said
    namespace: _Namespace = []


class StateAsked(Struct, kw_only=True):
    namespace: _Namespace = []
    keys: list[str] | None = None


class CheckpointsAsked(Struct, kw_only=True):
    namespace: _Namespace = []
    limit: Annotated[int, Meta(ge=1, le=1000)] = 10
    before: str | None = None


class Fork(Struct, kw_only=True):
    checkpoint_id: str
    input: Any = None
    config: Config | None = None


class TreeAsked(Struct, kw_only=True):
    run_id: str | None = None
