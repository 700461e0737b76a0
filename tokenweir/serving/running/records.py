"""What is known of runs, threads and assistants: plain records, kept in memory and written behind.

No I/O here: a journal is told of every change and takes care of the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Generic, Literal, Protocol, TypeAlias, TypedDict, TypeVar

import msgspec
from msgspec import Meta

from tokenweir.serving.fields import said

__all__ = [
    "FINAL",
    "Assistant",
    "Command",
    "Config",
    "Journal",
    "Records",
    "Run",
    "RunRequest",
    "RunStatus",
    "RunTable",
    "Table",
    "Thread",
    "ThreadStatus",
    "ThreadTable",
    "now",
]

RunStatus: TypeAlias = Literal["pending", "running", "success", "error", "timeout", "interrupted"]
ThreadStatus: TypeAlias = Literal["idle", "busy", "interrupted", "error"]

FINAL: frozenset[RunStatus] = frozenset({"success", "error", "timeout", "interrupted"})
"""The statuses of runs that are over."""


def now(after: float = 0.0) -> str:
    """The time, or that in so many seconds, as clients read it."""
    return (datetime.now(timezone.utc) + timedelta(seconds=after)).isoformat()


_Steps = Annotated[int, Meta(ge=1, le=10_000)]


class Config(TypedDict, total=False):
    """The config of a run, or of an assistant. Null is as if the key were not there."""

    configurable: dict[str, Any] | None
    tags: list[str] | None
    metadata: dict[str, Any] | None
    run_name: str | None
    recursion_limit: _Steps | None
    max_concurrency: _Steps | None


class Command(TypedDict, total=False):
    """What a run does instead of taking an input."""

    resume: Annotated[Any, said("The answer to an interrupt.")]
    update: Annotated[Any, said("A change of the state.")]
    goto: Annotated[
        str | dict[str, Any] | list[str | dict[str, Any]] | None,
        said("Nodes to go to: names, or `{node, input}`."),
    ]


class RunRequest(msgspec.Struct, kw_only=True):
    """What a run is to do: all that is needed to do it again after the process was killed.

    Attributes:
        graph: The graph's name.
        input: The graph's input; None to go on from the thread's state.
        command: Instead of an input.
        config: What of it is not the server's own matter.
        context: The run's context, for graphs with a context schema.
        modes: LangGraph's stream modes: which events to record. ``messages`` is ``(chunk,
            metadata)``.
        asked: The modes as a client of LangGraph's API named them, for readers who name none.
        subgraphs: Also record the events of subgraphs.
        only: Which model calls pass, as text: ``"tag:joke"``. None for all.
        interrupt_before: Nodes before which to stop; ``"*"`` for all.
        interrupt_after: Nodes after which to stop.
        durability: When checkpoints are written: ``sync``, ``async`` or ``exit``.
        checkpoint_id: The checkpoint of the thread to start from; its newest if None.
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
    """Whether its thread was made for it alone, and goes when it ends."""
    attempt: int = 1
    metadata: dict[str, Any] = {}
    strategy: str = "enqueue"
    due_at: str | None = None
    """Before that time it does not run, nor hold up others; None for at once."""
    undone: bool = False
    """Whether its checkpoints and its record go when it has stopped."""
    error: dict[str, str] | None = None
    created_at: str = msgspec.field(default_factory=now)
    updated_at: str = msgspec.field(default_factory=now)

    @property
    def final(self) -> bool:
        """Whether it is over."""
        return self.status in FINAL

    @property
    def delay(self) -> float:
        """Seconds until it is due; 0 or less if it is."""
        if self.due_at is None:
            return 0.0
        left = datetime.fromisoformat(self.due_at) - datetime.now(timezone.utc)
        return left.total_seconds()


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
    created_at: str = msgspec.field(default_factory=now)
    updated_at: str = msgspec.field(default_factory=now)
    state_updated_at: str = msgspec.field(default_factory=now)


class Assistant(msgspec.Struct, kw_only=True):
    """A graph with a config. Each graph has one under a fixed id."""

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


class Journal(Protocol):
    """Where records are kept beyond the process. Writes are in order, and nobody waits for them."""

    def save(self, table: str, id: str, record: bytes) -> None:
        """Write a record, over an older one of its id."""
        ...

    def remove(self, table: str, id: str) -> None:
        """Forget a record."""
        ...

    async def read(self, table: str, id: str) -> bytes | None:
        """A record as it is there, which may not be the last; None if there is none."""
        ...

    def load(self, table: str) -> Iterable[bytes]:
        """All records of a table, oldest first. May take its time: called once, at the start."""
        ...


R = TypeVar("R", Run, Thread, Assistant)


class Table(Generic[R]):
    """Records of one type by id, oldest first."""

    def __init__(self, name: str, kind: type[R], journal: Journal | None) -> None:
        self._name = name
        self._journal = journal
        self._records: dict[str, R] = {}
        if journal is not None:
            for data in journal.load(name):
                self._keep(msgspec.json.decode(data, type=kind))

    def get(self, id: str) -> R | None:
        return self._records.get(id)

    def all(self) -> list[R]:
        """All records, oldest first."""
        return list(self._records.values())

    def save(self, record: R) -> R:
        """Keep a record that is new or was changed."""
        record.updated_at = now()
        if self._journal is not None:
            self._journal.save(self._name, record.id, msgspec.json.encode(record))
        self._keep(record)
        return record

    def remove(self, id: str) -> None:
        if self._records.pop(id, None) is not None and self._journal is not None:
            self._journal.remove(self._name, id)

    def __len__(self) -> int:
        return len(self._records)

    def _keep(self, record: R) -> None:
        self._records[record.id] = record


class RunTable(Table[Run]):
    """Runs by id, and by the thread that they are on.

    Of a run that is over only the journal has what it was asked: inputs are large, and runs many.
    """

    def __init__(self, journal: Journal | None) -> None:
        self._on_thread: dict[str, list[str]] = {}
        super().__init__("runs", Run, journal)

    def on_thread(self, thread_id: str) -> list[Run]:
        """A thread's runs, oldest first."""
        return [self._records[run_id] for run_id in self._on_thread.get(thread_id, ())]

    async def whole(self, run: Run) -> Run:
        """A run with all that it was asked."""
        if self._journal is None or not run.final:
            return run
        data = await self._journal.read(self._name, run.id)
        if data is None:
            return run
        known = msgspec.json.decode(data, type=Run)
        return msgspec.structs.replace(run, request=known.request, metadata=known.metadata)

    def remove(self, id: str) -> None:
        if (run := self.get(id)) is not None:
            others = self._on_thread[run.thread_id]
            others.remove(id)
            if not others:
                del self._on_thread[run.thread_id]
        super().remove(id)

    def _keep(self, record: Run) -> None:
        if record.id not in self._records:
            self._on_thread.setdefault(record.thread_id, []).append(record.id)
        super()._keep(record)
        if record.final and self._journal is not None:
            asked = record.request
            record.request = RunRequest(
                graph=asked.graph, modes=asked.modes, asked=asked.asked, subgraphs=asked.subgraphs
            )
            record.metadata = {}


class ThreadTable(Table[Thread]):
    """Threads by id, and how many each owner has."""

    def __init__(self, journal: Journal | None) -> None:
        self._owned = Counter[str]()
        super().__init__("threads", Thread, journal)

    def owned(self, owner: str) -> int:
        """How many threads somebody has."""
        return self._owned[owner]

    def remove(self, id: str) -> None:
        if (thread := self.get(id)) is not None:
            self._owned[thread.owner] -= 1
        super().remove(id)

    def _keep(self, record: Thread) -> None:
        if record.id not in self._records:
            self._owned[record.owner] += 1
        super()._keep(record)


class Records:
    """The tables of one server."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.runs = RunTable(journal)
        self.threads = ThreadTable(journal)
        self.assistants: Table[Assistant] = Table("assistants", Assistant, journal)

    def runs_of(self, thread_id: str, owner: str) -> list[Run]:
        """An owner's runs on a thread, newest first."""
        return [run for run in reversed(self.runs.on_thread(thread_id)) if run.owner == owner]

    def owner_of(self, thread_id: str) -> str | None:
        """Who owns a thread's id: whoever used it first, with a thread's record or without.

        None if nobody uses it.
        """
        thread = self.threads.get(thread_id)
        if thread is not None:
            return thread.owner
        return next((run.owner for run in self.runs.on_thread(thread_id)), None)
