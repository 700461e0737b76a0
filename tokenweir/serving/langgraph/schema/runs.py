"""Requests and responses of the routes for runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct, field

from tokenweir.serving.fields import said
from tokenweir.serving.langgraph.schema.common import (
    CheckpointConfig,
    Context,
    Metadata,
    Page,
    Time,
)
from tokenweir.serving.running.records import Command, Config, RunStatus

__all__ = [
    "CancelQuery",
    "JoinQuery",
    "LastEventId",
    "Run",
    "RunCreate",
    "RunsAsked",
    "RunsQuery",
    "StreamQuery",
    "UndoQuery",
]

_Mode: TypeAlias = Literal[
    "values",
    "updates",
    "messages",
    "messages-tuple",
    "custom",
    "debug",
    "tasks",
    "checkpoints",
    "tools",
    "events",
]
_Nodes: TypeAlias = Annotated[Literal["*"] | list[str] | None, said("Nodes; `*` for all.")]
_Leaves: TypeAlias = Annotated[bool, said("Whether the run stops if this connection ends.")]
_Undoing: TypeAlias = Annotated[
    Literal["interrupt", "rollback"],
    said("`rollback` also undoes the run: it removes its checkpoints and its record."),
]


class RunCreate(Struct, kw_only=True):
    """A run to start."""

    assistant_id: Annotated[str, said("A graph's name, or an assistant's id.")]
    input: Annotated[Any, said("The graph's input; null to continue from the state.")] = None
    command: Annotated[Command | None, said("A command instead of an input.")] = None
    stream_mode: _Mode | list[_Mode] | None = "values"
    stream_subgraphs: Annotated[bool | None, said("Also the events of subgraphs.")] = False
    only: Annotated[
        str | None,
        said(
            "Which model calls pass in `messages` modes: `tag:joke`, `node:write`, joined by "
            "`|`, `&`, `~`."
        ),
    ] = None
    config: Config | None = None
    context: Context = None
    metadata: Metadata = None
    interrupt_before: _Nodes = None
    interrupt_after: _Nodes = None
    checkpoint: Annotated[CheckpointConfig | None, said("The checkpoint to start from.")] = None
    checkpoint_id: str | None = None
    multitask_strategy: Annotated[
        Literal["enqueue", "reject", "interrupt", "rollback"] | None,
        said("What to do while the thread is busy."),
    ] = "enqueue"
    if_not_exists: Annotated[
        Literal["reject", "create"] | None, said("What to do if there is no such thread.")
    ] = "reject"
    on_disconnect: Annotated[
        Literal["continue", "cancel"] | None, said("What to do if the connection ends.")
    ] = "continue"
    on_completion: Annotated[
        Literal["delete", "keep"] | None,
        said("What happens to a thread that was created for this run."),
    ] = "delete"
    durability: Annotated[
        Literal["sync", "async", "exit"] | None, said("When checkpoints are written.")
    ] = None
    checkpoint_during: Annotated[
        bool | None, said("The older name: true is `async`, false is `exit`.")
    ] = None
    after_seconds: Annotated[
        Annotated[float, Meta(ge=0, le=86_400)] | None, said("How long to wait first.")
    ] = None
    webhook: Annotated[None, said("This server does not offer webhooks; join the run instead.")] = (
        None
    )


class Run(Struct, kw_only=True):
    """A run."""

    run_id: str
    thread_id: str
    assistant_id: str
    created_at: Time
    updated_at: Time
    status: RunStatus
    metadata: dict[str, Any]
    multitask_strategy: str
    kwargs: Annotated[dict[str, Any], said("What the run was asked to do.")]


class RunsQuery(Page, kw_only=True):
    status: Annotated[RunStatus | None, said("Only runs with this status.")] = None


class RunsAsked(Struct, kw_only=True):
    """Which unfinished runs to stop: by id, or by status."""

    thread_id: str | None = None
    run_ids: list[str] | None = None
    status: Literal["pending", "running", "all"] | None = None


class UndoQuery(Struct, kw_only=True):
    action: _Undoing = "interrupt"


class CancelQuery(UndoQuery, kw_only=True):
    wait: Annotated[bool, said("Whether to answer only when the run has ended.")] = False


class JoinQuery(Struct, kw_only=True):
    cancel_on_disconnect: _Leaves = False


class StreamQuery(JoinQuery, kw_only=True):
    stream_mode: Annotated[
        list[str], said("Which events to send; without it, those that the run was asked for.")
    ] = field(default_factory=list)


class LastEventId(Struct, kw_only=True):
    last_event_id: Annotated[
        Annotated[str, Meta(pattern="^(-1|[0-9]{1,18})$")] | None,
        said(
            "The id of the last event received: continue after it. -1 for all events. "
            "Without it, only events from now on."
        ),
    ] = field(default=None, name="Last-Event-ID")
