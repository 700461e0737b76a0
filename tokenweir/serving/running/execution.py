"""One run: the graph's stream written into the event log, and going on after a kill.

Nothing here knows of connections, owners or queues.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph.pregel import Pregel
from langgraph.types import Command, Send

from tokenweir.errors import FilterError
from tokenweir.serving.log.events import EventLog
from tokenweir.serving.problems import InvalidError
from tokenweir.serving.running.checkpoints import MemoryCheckpoints, SqliteCheckpoints
from tokenweir.serving.running.configs import carried, check_size, config_of
from tokenweir.serving.running.encoding import encode, explain, plain
from tokenweir.serving.running.recorder import Recorder
from tokenweir.serving.running.records import Assistant, Run, RunRequest, RunStatus
from tokenweir.serving.running.resuming import Left, left_of
from tokenweir.streaming.filters import as_filter
from tokenweir.streaming.run import Plan
from tokenweir.streaming.run_filter import run_filter

__all__ = ["MODES", "Executor", "Outcome", "command_of"]

MODES = ("values", "updates", "messages", "custom", "debug", "tasks", "checkpoints")
"""The stream modes that can be recorded."""

_logger = logging.getLogger("tokenweir.serving")


@dataclass
class Outcome:
    """How a run ended, and what its thread holds then."""

    status: RunStatus
    error: dict[str, str] | None = None
    values: Any = None
    interrupts: dict[str, Any] = field(default_factory=dict)
    next: tuple[str, ...] = ()
    """The nodes before which the graph stands, for somebody to let it go on."""


class Executor:
    """Runs graphs into an event log."""

    def __init__(self, graphs: Mapping[str, Any], log: EventLog, checkpointer: Any) -> None:
        self._log = log
        self._checkpointer = checkpointer
        self._recorded = 0
        self._recorders: dict[str, Recorder] = {}
        self._deaf: dict[str, asyncio.Task[Outcome]] = {}
        """By run: the work of those that are over, and whose nodes go on."""
        if isinstance(checkpointer, (MemoryCheckpoints, SqliteCheckpoints)):
            checkpointer.stay_behind(self._in_log)
        self.graphs = {name: self._with_checkpointer(graph) for name, graph in graphs.items()}

    @property
    def events(self) -> int:
        """How many events were recorded."""
        return self._recorded + sum(recorder.count for recorder in self._recorders.values())

    def _with_checkpointer(self, graph: Any) -> Any:
        if isinstance(graph, Pregel):
            return graph.copy({"checkpointer": self._checkpointer})
        return graph

    def check(self, request: RunRequest, metadata: Mapping[str, Any]) -> None:
        """Raise InvalidError for a request that cannot be run, or not with this metadata."""
        if request.graph not in self.graphs:
            raise InvalidError(
                f"there is no graph {request.graph!r}; here: {', '.join(self.graphs)}"
            )
        if not request.modes or not set(request.modes) <= set(MODES):
            raise InvalidError(f"stream modes are {', '.join(MODES)}; got {request.modes}")
        if request.durability not in ("sync", "async", "exit"):
            raise InvalidError("durability is sync, async or exit")
        check_size(carried(request, metadata))
        command_of(request.command)
        try:
            as_filter(request.only)
        except FilterError as error:
            raise InvalidError(str(error)) from None

    async def execute(self, run: Run, assistant: Assistant, kept: int = 0) -> Outcome:
        """Run to the end. Only cancellation is raised; every failure is an outcome.

        ``kept`` is the greatest id in its record, if another process began it.
        """
        request = run.request
        graph = self.graphs[request.graph]
        config = config_of(run, assistant)
        left = Left(fresh=True)
        try:
            if run.attempt > 1:
                left = await self._take_up(run, graph, config, kept)
            if left.over:
                outcome = await self._outcome(run)
                if "values" in request.modes:
                    self._log.append(run.id, "values", encode(outcome.values))
                return outcome
            if isinstance(graph, Pregel) and (request.command or request.input is None):
                await self._checkpointer.akeep_writes(
                    run.id, run.thread_id, everywhere=request.checkpoint_id is not None
                )
            if left.fresh and request.checkpoint_id:
                config["configurable"]["checkpoint_id"] = request.checkpoint_id
            self._log.append(
                run.id,
                "metadata",
                encode({"run_id": run.id, "attempt": run.attempt}),
                durable=True,
            )
            await self._stream(run, graph, config, assistant, go_on=not left.fresh)
            return await self._outcome(run)
        except Exception as error:
            if run.id in self._deaf:
                raise
            _logger.warning("run %s of %s failed", run.id, request.graph, exc_info=error)
            outcome = await self._outcome(run)
            outcome.status, outcome.error = "error", explain(error)
            return outcome

    async def refuse(self, run: Run, work: asyncio.Task[Outcome]) -> str:
        """Take nothing any more of a run that ends without its work; what does not listen."""
        self._deaf[run.id] = work
        work.add_done_callback(lambda done: self._fell_silent(run.id, done))
        if (recorder := self._recorders.get(run.id)) is not None:
            recorder.refuse()
        under_way = (await self._outcome(run)).next
        return f"its node {' or '.join(map(repr, under_way))}" if under_way else "one of its nodes"

    def _fell_silent(self, run_id: str, done: asyncio.Task[Outcome]) -> None:
        del self._deaf[run_id]
        if not done.cancelled():
            done.exception()  # which is nobody's business any more

    async def settle(self, run: Run, outcome: Outcome) -> None:
        """Read into an outcome what the thread of a stopped run holds."""
        found = await self._outcome(run)
        outcome.values, outcome.interrupts = found.values, {}
        if run.undone or run.status == "pending":
            outcome.interrupts, outcome.next = found.interrupts, found.next

    async def size(self) -> int:
        """Bytes of checkpoints in a file; those in memory are not counted."""
        files = isinstance(self._checkpointer, SqliteCheckpoints)
        return await self._checkpointer.asize() if files else 0

    async def tidy(self) -> None:
        """Give the space of what was forgotten back."""
        if isinstance(self._checkpointer, SqliteCheckpoints):
            await self._checkpointer.atidy()

    async def forget(self, thread_id: str) -> None:
        """Remove a thread's checkpoints."""
        await self._checkpointer.adelete_thread(thread_id)

    async def undo(self, run: Run) -> None:
        """Remove the checkpoints that a run made, and what it wrote to those before."""
        await self._checkpointer.adelete_for_runs([run.id])

    async def copy(self, thread_id: str, to: str) -> None:
        """Copy a thread's checkpoints."""
        await self._checkpointer.acopy_thread(thread_id, to)

    async def _stream(
        self, run: Run, graph: Any, config: Any, assistant: Assistant, *, go_on: bool
    ) -> None:
        request = run.request
        kwargs: dict[str, Any] = {}
        if isinstance(graph, Pregel):
            kwargs["durability"] = request.durability
        context = request.context if request.context is not None else assistant.context
        if context is not None:
            kwargs["context"] = context
        if request.interrupt_before:
            kwargs["interrupt_before"] = request.interrupt_before
        if request.interrupt_after:
            kwargs["interrupt_after"] = request.interrupt_after
        given = None if go_on else command_of(request.command) or request.input
        recorder = Recorder(run, self._log)
        plan = Plan(
            graph,
            given,
            config,
            only=run_filter(request.only),
            stream_mode=request.modes,
            subgraphs=request.subgraphs,
            version="v1",
            kwargs=kwargs,
        )
        self._recorders[run.id] = recorder
        try:
            await recorder.record(plan)
        finally:
            del self._recorders[run.id]
            self._recorded += recorder.count

    async def _in_log(self, run_id: str) -> None:
        """Wait until what a run has made so far is in the log. Raises if the run is over."""
        if (work := self._deaf.get(run_id)) is not None:
            work.cancel()  # a node that did not listen has ended: the next one must not begin
            raise asyncio.CancelledError
        recorder = self._recorders.get(run_id)
        if recorder is not None:
            await recorder.recorded()

    async def _take_up(self, run: Run, graph: Any, config: Any, kept: int) -> Left:
        """Where a run stands that another process began; its cut-off messages are made void."""
        left = await left_of(run, graph, config, self._log, kept)
        for kind, message, metadata in left.void:
            removed: dict[str, Any] = {
                "type": "remove",
                "id": message,
                "content": "",
                "additional_kwargs": {},
            }
            removed |= {"response_metadata": {}, "name": None}
            self._log.append(run.id, kind, encode([removed, metadata]), durable=True)
        return left

    async def _outcome(self, run: Run) -> Outcome:
        """What the thread holds now, and whether it waits for somebody."""
        graph = self.graphs[run.request.graph]
        if not isinstance(graph, Pregel):
            return Outcome("success")
        config: Any = {"configurable": {"thread_id": run.thread_id}}
        try:
            snapshot = await graph.aget_state(config)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _logger.warning("the state of thread %s cannot be read", run.thread_id, exc_info=error)
            return Outcome("success")
        interrupts = {
            task.id: [{"id": each.id, "value": each.value} for each in task.interrupts]
            for task in snapshot.tasks
            if task.interrupts
        }
        status: RunStatus = "interrupted" if snapshot.next else "success"
        return Outcome(status, None, plain(snapshot.values), plain(interrupts), snapshot.next)


def command_of(command: Mapping[str, Any] | None) -> Command[Any] | None:
    """LangGraph's command from a client's; None for none. Raises InvalidError."""
    if not command:
        return None
    goto = command.get("goto") or ()
    places = goto if isinstance(goto, list) else [goto] if goto else []
    steps: list[Any] = []
    for place in places:
        if isinstance(place, str):
            steps.append(place)
        elif isinstance(place, dict) and isinstance(place.get("node"), str):
            steps.append(Send(place["node"], place.get("input")))
        else:
            raise InvalidError(
                'command.goto is a node\'s name, {"node", "input"}, or a list of them'
            )
    update = command.get("update")
    if isinstance(update, list) and all(isinstance(p, list) and len(p) == 2 for p in update):
        update = [tuple(pair) for pair in update]
    if "resume" in command:
        return Command(resume=command["resume"], update=update, goto=steps)
    return Command(update=update, goto=steps)
