"""Plain records of runs, threads and assistants, which a store keeps."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

import msgspec
from msgspec import Meta

from tokenweir.serving.fields import said

__all__ = [
    "FINAL",
    "Assistant",
    "Command",
    "Config",
    "Run",
    "RunRequest",
    "RunStatus",
    "Thread",
    "ThreadStatus",
    "now",
]

RunStatus: TypeAlias = Literal["pending", "running", "success", "error", "timeout", "interrupted"]
ThreadStatus: TypeAlias = Literal["idle", "busy", "interrupted", "error"]

FINAL: frozenset[RunStatus] = frozenset({"success", "error", "timeout", "interrupted"})
"""The statuses of runs that have ended."""


def now(after: float = 0.0) -> str:
    """The time in so many seconds, as text in ISO format."""
    return (datetime.now(timezone.utc) + timedelta(seconds=after)).isoformat()


_Steps = Annotated[int, Meta(ge=1, le=10_000)]


class Config(TypedDict, total=False):
    """The config of a run, or of an assistant. A null value counts as missing."""

    configurable: dict[str, Any] | None
    tags: list[str] | None
    metadata: dict[str, Any] | None
    run_name: str | None
    recursion_limit: _Steps | None
    max_concurrency: _Steps | None


class Command(TypedDict, total=False):
    """What a run does instead of taking input."""

    resume: Annotated[Any, said("The answer to an interrupt.")]
    update: Annotated[Any, said("A change of the state.")]
    goto: Annotated[
        str | dict[str, Any] | list[str | dict[str, Any]] | None,
        said("Nodes to go to: names, or `{node, input}`."),
    ]


class RunRequest(msgspec.Struct, kw_only=True):
    """What a run has to do, with all that is needed to resume it after a crash.

    Attributes:
        graph: The graph's name.
        input: The graph's input; None to continue from the thread's state.
        command: A command instead of an input.
        config: The config, without the keys that the server sets.
        context: The run's context, for graphs with a context schema.
        modes: LangGraph's stream modes whose events are recorded. Those of ``messages`` are
            ``(chunk, metadata)``.
        asked: The modes that a client of LangGraph's API named, for readers that name none.
        subgraphs: Whether to record the events of subgraphs, too.
        only: A filter for model calls, as text: ``"tag:joke"``. All pass if None.
        interrupt_before: Nodes to interrupt before; ``"*"`` for all.
        interrupt_after: Nodes to interrupt after.
        durability: When checkpoints are written: ``sync``, ``async`` or ``exit``.
        checkpoint_id: The checkpoint of the thread to start from; the newest if None.
    """

    graph: str
    input: Any = None
    command: Command | None = None
    config: Config = {}
    context: Any = None
    modes: list[str] = msgspec.field(default_factory=lambda: ["messages"])
    asked: list[str] = []
    subgraphs: bool = False
    only: str | None = None
    interrupt_before: list[str] | str | None = None
    interrupt_after: list[str] | str | None = None
    durability: str = "sync"
    checkpoint_id: str | None = None


class Run(msgspec.Struct, kw_only=True):
    """One run."""

    id: str
    thread_id: str
    request: RunRequest
    assistant_id: str
    owner: str = ""
    status: RunStatus = "pending"
    temporary: bool = False
    """Whether its thread was created for it alone, and is deleted when it ends."""
    attempt: int = 0
    """How often a worker has claimed it; this is the epoch of the last claim."""
    lost: int = 0
    """How often its worker died or left without giving it back."""
    server: str = ""
    """The worker that holds it; "" if there is none."""
    turn: int = 0
    """Its number among its thread's runs, from 1, by when they began; 0 before it begins."""
    metadata: dict[str, Any] = {}
    strategy: str = "enqueue"
    due_at: str | None = None
    """When it may run; until then it does not hold up others. None if at once."""
    stopping: bool = False
    """Whether a client asked to stop it."""
    undone: bool = False
    """Whether its checkpoints and its record are removed when it has stopped."""
    error: dict[str, str] | None = None
    created_at: str = msgspec.field(default_factory=now)
    updated_at: str = msgspec.field(default_factory=now)

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.status in FINAL

    @property
    def delay(self) -> float:
        """Seconds until it is due; 0 or less if it is due."""
        if self.due_at is None:
            return 0.0
        left = datetime.fromisoformat(self.due_at) - datetime.now(timezone.utc)
        return left.total_seconds()

    @property
    def waited(self) -> float:
        """Seconds since it became due."""
        due = datetime.fromisoformat(self.due_at or self.created_at)
        return (datetime.now(timezone.utc) - due).total_seconds()


class Thread(msgspec.Struct, kw_only=True):
    """One thread."""

    id: str
    owner: str = ""
    metadata: dict[str, Any] = {}
    status: ThreadStatus = "idle"
    graph: str | None = None
    config: dict[str, Any] = {}
    values: Any = None
    interrupts: dict[str, Any] = {}
    error: Any = None
    turns: int = 0
    """How many runs have begun on it, including deleted ones."""
    created_at: str = msgspec.field(default_factory=now)
    updated_at: str = msgspec.field(default_factory=now)
    state_updated_at: str = msgspec.field(default_factory=now)


class Assistant(msgspec.Struct, kw_only=True):
    """A graph with a config. Each graph has a default one under a fixed id."""

    id: str
    graph: str
    owner: str = ""
    name: str = ""
    description: str | None = None
    config: Config = {}
    context: Any = None
    metadata: dict[str, Any] = {}
    version: int = 1
    created_at: str = msgspec.field(default_factory=now)
    updated_at: str = msgspec.field(default_factory=now)

    @property
    def own(self) -> bool:
        """Whether it is a graph's default assistant, not a client's."""
        return self.metadata.get("created_by") == "system"
