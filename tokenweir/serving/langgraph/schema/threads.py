"""Requests and responses of the routes for threads."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Struct, field

from tokenweir.serving.fields import said
from tokenweir.serving.langgraph.schema.common import (
    CheckpointConfig,
    Count,
    Limited,
    Metadata,
    Order,
    Page,
    Selected,
    Time,
)
from tokenweir.serving.running.records import Command, ThreadStatus

__all__ = [
    "Before",
    "Checkpoint",
    "HistoryAsked",
    "HistoryQuery",
    "Interrupt",
    "State",
    "StateAsked",
    "StateChange",
    "StateChanged",
    "StateQuery",
    "Superstep",
    "Task",
    "Thread",
    "ThreadChange",
    "ThreadCreate",
    "ThreadSearch",
    "ThreadStreamQuery",
    "ThreadsAsked",
    "ThreadsPruned",
    "Update",
]


class Checkpoint(Struct, kw_only=True):
    """A checkpoint in a thread."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str | None


class Interrupt(Struct, kw_only=True):
    """A question of a node that waits for an answer."""

    id: str
    value: Any


class Thread(Struct, kw_only=True):
    """A thread, such as a conversation: each run on it continues from the state of the last."""

    thread_id: str
    created_at: Time
    updated_at: Time
    state_updated_at: Time
    metadata: dict[str, Any]
    status: ThreadStatus
    config: dict[str, Any]
    values: Annotated[Any, said("The state; null before the first run.")]
    interrupts: Annotated[dict[str, Any], said("The interrupts by task.")]
    error: Any


class Update(Struct, kw_only=True):
    """An update of the state, as a node would make it."""

    values: Any = None
    command: Command | None = None
    as_node: str | None = None


class Superstep(Struct, kw_only=True):
    """Updates that are made in one step."""

    updates: list[Update]


class ThreadCreate(Struct, kw_only=True):
    """A thread to create."""

    thread_id: Annotated[str | None, said("Its id; generated if omitted.")] = None
    metadata: Metadata = None
    graph_id: Annotated[str | None, said("The graph that it is for.")] = None
    if_exists: Literal["raise", "do_nothing"] | None = "raise"
    supersteps: Annotated[list[Superstep] | None, said("Updates for its initial state.")] = None


class ThreadSearch(Page, kw_only=True):
    """Which threads to list."""

    ids: list[str] | None = None
    status: ThreadStatus | None = None
    metadata: Metadata = None
    values: Annotated[dict[str, Any] | None, said("Values that the state must have.")] = None
    sort_by: (
        Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"] | None
    ) = "created_at"
    sort_order: Order | None = "desc"
    select: Selected = None
    extract: Annotated[None, said("This server does not offer extract; select values instead.")] = (
        None
    )


class ThreadChange(Struct, kw_only=True):
    """What to change in a thread."""

    metadata: Annotated[dict[str, Any] | None, said("Merged into the metadata.")] = None


class ThreadsAsked(Struct, kw_only=True):
    """Which threads to delete."""

    thread_ids: list[str] | None = None
    strategy: Literal["delete"] | None = "delete"


class ThreadsPruned(Struct, kw_only=True):
    """How many threads were deleted."""

    pruned_count: Count


class Task(Struct, kw_only=True):
    """A node that ran, or runs next."""

    id: str
    name: str
    path: list[Any]
    error: str | None
    interrupts: list[Interrupt]
    checkpoint: Checkpoint | None
    state: Annotated[State | None, said("The subgraph's state, if requested.")]
    result: Any


class State(Struct, kw_only=True):
    """The state of a thread at a checkpoint."""

    values: Any
    next: Annotated[list[str], said("The nodes that run next.")]
    tasks: list[Task]
    metadata: dict[str, Any] | None
    created_at: str | None
    checkpoint: Checkpoint | None
    parent_checkpoint: Checkpoint | None
    interrupts: list[Interrupt]
    checkpoint_id: str | None
    parent_checkpoint_id: str | None


class StateQuery(Struct, kw_only=True):
    subgraphs: Annotated[bool, said("Also the states of subgraphs.")] = False
    select: Annotated[list[str], said("Only these keys.")] = field(default_factory=list)


class StateAsked(Struct, kw_only=True):
    """Which state to read; a checkpoint may be a subgraph's."""

    checkpoint: CheckpointConfig | None = None
    subgraphs: Annotated[bool | None, said("Also the states of subgraphs.")] = False
    select: Selected = None


class StateChange(Struct, kw_only=True):
    """An update of the state."""

    values: Annotated[Any, said("The node's result.")] = None
    as_node: Annotated[str | None, said("The node to update as.")] = None
    checkpoint: CheckpointConfig | None = None
    checkpoint_id: str | None = None


class StateChanged(Struct, kw_only=True):
    """The new checkpoint."""

    checkpoint: Checkpoint | None
    configurable: Checkpoint | None
    checkpoint_id: str | None


class Before(CheckpointConfig, kw_only=True):
    """A checkpoint, or the config of one."""

    configurable: CheckpointConfig | None = None


class HistoryQuery(Limited, kw_only=True):
    before: Annotated[str | None, said("A checkpoint's id: only older states.")] = None


class HistoryAsked(Limited, kw_only=True):
    """Which states to read."""

    before: Annotated[str | Before | None, said("A checkpoint, or its id: only older ones.")] = None
    metadata: Metadata = None
    checkpoint: CheckpointConfig | None = None
    select: Selected = None

    @property
    def before_config(self) -> CheckpointConfig | None:
        """The checkpoint in ``before``, if any."""
        if isinstance(self.before, str):
            return CheckpointConfig(checkpoint_id=self.before)
        found = self.before and (self.before.configurable or self.before)
        return CheckpointConfig(checkpoint_id=found.checkpoint_id) if found else None


class ThreadStreamQuery(Struct, kw_only=True):
    stream_mode: Annotated[
        list[str],
        said("`run_modes` for all that the runs stream; `lifecycle`; `state_update`."),
    ] = field(default_factory=lambda: ["run_modes"])
