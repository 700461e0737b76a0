"""Executes one run: writes the graph's stream into the event log, and resumes after a crash.

It knows nothing of connections, owners or queues.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from langgraph.pregel import Pregel
from langgraph.types import Command, Send

from tokenweir.errors import FilterError
from tokenweir.serving.log.events import EventLog, EventWriter
from tokenweir.serving.problems import CheckpointMissingError, InvalidError, LostError, StoreError
from tokenweir.serving.running.checkpoints import Checkpoints
from tokenweir.serving.running.configs import carried, check_size, config_of
from tokenweir.serving.running.encoding import encode, explain, plain
from tokenweir.serving.running.event_records import WithEvents
from tokenweir.serving.running.guarding import GuardHandler, ReplacedError
from tokenweir.serving.running.items import Items
from tokenweir.serving.running.keeping import keep_shown
from tokenweir.serving.running.recorder import Recorder
from tokenweir.serving.running.records import Assistant, Run, RunRequest, RunStatus
from tokenweir.serving.running.resuming import Progress, progress_of
from tokenweir.serving.running.store import Outcome
from tokenweir.serving.running.timing import RunTiming
from tokenweir.serving.running.usage import Usage
from tokenweir.streaming._langgraph.durability import allow_subgraphs_without_checkpoints
from tokenweir.streaming.filters import as_filter
from tokenweir.streaming.guard import Guard
from tokenweir.streaming.run import Plan
from tokenweir.streaming.run_filter import run_filter

__all__ = [
    "MODES",
    "Executor",
    "check",
    "check_checkpoint",
    "command_of",
    "with_checkpointer",
    "with_items",
]

MODES = (
    "values",
    "updates",
    "messages",
    "custom",
    "debug",
    "tasks",
    "checkpoints",
    "tools",
    "events",
)
"""The stream modes that can be recorded."""

_MOST_LOST = 10
"""How often a run may lose its server before it fails: its nodes probably kill the process."""

_Key: TypeAlias = "tuple[str, int]"
"""A run's id, and the epoch under which it is held."""

_logger = logging.getLogger("tokenweir.serving")


class Executor:
    """Executes runs and records them in an event log."""

    def __init__(
        self,
        graphs: Mapping[str, Any],
        log: EventLog,
        checkpoints: Checkpoints,
        items: Items,
        guards: Sequence[Guard] = (),
    ) -> None:
        """``guards`` must come from ``check_guards``."""
        self._log = log
        self._items = items
        self._checkpoints = checkpoints
        self.usage = Usage()
        self._guards = guards
        self._recorded = 0
        self._writers: dict[_Key, EventWriter] = {}
        self._recorders: dict[_Key, Recorder] = {}
        self._abandoned: dict[_Key, asyncio.Task[Outcome]] = {}
        """The tasks of runs that have ended here while their nodes keep running."""
        allow_subgraphs_without_checkpoints()
        self.graphs = with_checkpointer(graphs, checkpoints.behind(self._until_durable))
        self._of_owner: dict[tuple[str, str], Any] = {}
        """By graph and owner: the graph with the owner's items."""

    @property
    def events(self) -> int:
        """The number of events recorded."""
        return self._recorded + sum(recorder.count for recorder in self._recorders.values())

    async def execute(
        self, run: Run, assistant: Assistant, writer: EventWriter, timing: RunTiming
    ) -> Outcome:
        """Execute a run until it ends. An error of the graph is an outcome, not raised.

        Args:
            run: The claimed run; its attempt is the epoch.
            assistant: The assistant whose config is used.
            writer: Writes the run's record under this epoch.
            timing: Notes the times of the run's tokens.

        Raises:
            StoreError: If the store fails; the run has not ended.
            LostError: If another worker has claimed the run.
        """
        key = run.id, run.attempt
        self._writers[key] = writer
        try:
            return await self._execute(run, assistant, writer, timing)
        except (StoreError, LostError, asyncio.CancelledError):
            raise
        except BaseException as error:
            # Also SystemExit, and panics of libraries written in Rust.
            if key in self._abandoned:
                raise
            if _is_of_store(error):
                raise StoreError from error
            _logger.warning("run %s of %s failed", run.id, run.request.graph, exc_info=error)
            outcome = await self._outcome(run)
            outcome.status, outcome.error = "error", explain(error)
            return outcome
        finally:
            del self._writers[key]

    async def _execute(
        self, run: Run, assistant: Assistant, writer: EventWriter, timing: RunTiming
    ) -> Outcome:
        request = run.request
        graph = self._graph_of(request.graph, run.owner)
        config = config_of(run, assistant)
        if isinstance(graph, Pregel):
            config["callbacks"] = [self.usage.handler(config)]
            if self._guards:
                config["callbacks"].append(GuardHandler(self._guards))
        progress = Progress(fresh=True)
        if run.attempt > 1:
            progress = await self._resume(run, graph, config, writer)
        if progress.over:
            outcome = await self._outcome(run)
            if "values" in request.modes:
                writer.append("values", encode(outcome.values))
            return outcome
        if run.lost >= _MOST_LOST:
            return await self._give_up(run)
        begins = {"run_id": run.id, "attempt": run.attempt}
        writer.append("metadata", encode(begins), durable=True)
        if isinstance(graph, Pregel) and (request.command or request.input is None):
            await self._checkpoints.akeep_writes(
                run.id, run.thread_id, everywhere=request.checkpoint_id is not None
            )
        if progress.fresh and request.checkpoint_id:
            # It may be gone since the request, with a run that was undone.
            await check_checkpoint(graph, run.thread_id, request.checkpoint_id)
            config["configurable"]["checkpoint_id"] = request.checkpoint_id
        try:
            recorder = Recorder(run, writer, timing, self._guards)
            await self._stream(run, graph, config, assistant, recorder, go_on=not progress.fresh)
        except ReplacedError:
            await self._keep(run, writer)
        return await self._outcome(run)

    async def _give_up(self, run: Run) -> Outcome:
        outcome = await self._outcome(run)
        nodes = f" in {' or '.join(map(repr, outcome.next))}" if outcome.next else ""
        reason = f"the server ended {run.lost} times while it executed the run{nodes}"
        outcome.status, outcome.error = "error", {"error": "ServerLost", "message": reason}
        _logger.error("run %s of %s failed: %s", run.id, run.request.graph, reason)
        return outcome

    def _graph_of(self, name: str, owner: str) -> Any:
        if (name, owner) not in self._of_owner:  # there are as many owners as API keys
            items = self._items.of(owner)
            self._of_owner[name, owner] = with_items(self.graphs[name], items)
        return self._of_owner[name, owner]

    async def refuse(self, run: Run, work: asyncio.Task[Outcome]) -> str:
        """Record nothing more of a run whose task ignores its cancellation; name its nodes."""
        key = run.id, run.attempt
        self._abandoned[key] = work
        work.add_done_callback(lambda done: self._forget_abandoned(key, done))
        if (recorder := self._recorders.get(key)) is not None:
            recorder.refuse()
        under_way = (await self._outcome(run)).next
        return f"its node {' or '.join(map(repr, under_way))}" if under_way else "one of its nodes"

    def _forget_abandoned(self, key: _Key, done: asyncio.Task[Outcome]) -> None:
        del self._abandoned[key]
        if not done.cancelled():
            done.exception()  # mark the error as retrieved

    async def settle(self, run: Run, writer: EventWriter, outcome: Outcome, *, began: bool) -> None:
        """Read the state of a stopped run's thread into its outcome.

        If the run had begun and is not undone, its interrupts no longer wait for an answer, and the
        thread keeps the messages that readers were shown.
        """
        if began and not (outcome.undone or run.undone or run.temporary):
            await self._keep(run, writer)
        found = await self._outcome(run)
        outcome.values, outcome.interrupts = found.values, {}
        if outcome.undone or not began:
            outcome.interrupts, outcome.next = found.interrupts, found.next

    async def _keep(self, run: Run, writer: EventWriter) -> None:
        if (run.id, run.attempt) in self._abandoned:
            return  # its nodes still run, and writes under its name are refused
        try:
            graph = self.graphs[run.request.graph]
            begun = await self._log.newest(run.id, "metadata")
            if run.attempt > 1 and (begun is None or begun.value["attempt"] < run.attempt):
                # The record of a lost server may be ahead of the thread's state.
                config = {"configurable": {"thread_id": run.thread_id}}
                await self._resume(run, graph, config, writer)
                await writer.saved()
            await keep_shown(run, graph, self._log)
        except (StoreError, LostError):
            raise
        except Exception as error:
            if _is_of_store(error):
                raise StoreError from error
            _logger.warning("the messages of stopped run %s are not kept", run.id, exc_info=error)

    async def forget(self, thread_id: str) -> None:
        """Remove a thread's checkpoints."""
        await self._checkpoints.adelete_thread(thread_id)

    async def undo(self, run: Run) -> None:
        """Remove a run's checkpoints, and its writes to earlier ones."""
        await self._checkpoints.adelete_for_runs([run.id])

    async def _stream(
        self,
        run: Run,
        graph: Any,
        config: Any,
        assistant: Assistant,
        recorder: Recorder,
        *,
        go_on: bool,
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
        plan = Plan(
            WithEvents(graph, run.id) if "events" in request.modes else graph,
            given,
            config,
            only=run_filter(request.only),
            stream_mode=request.modes,
            subgraphs=request.subgraphs,
            version="v1",
            kwargs=kwargs,
        )
        key = run.id, run.attempt
        self._recorders[key] = recorder
        try:
            await recorder.record(plan)
        finally:
            del self._recorders[key]
            self._recorded += recorder.count
        # The calls of earlier attempts, which a run that continues does not repeat, are unknown.
        if plan.only is not None and not go_on and (warning := plan.only.unmatched()):
            _logger.warning("run %s of %s: %r", run.id, request.graph, warning)
            self._writers[key].append("warning", encode({"message": warning}))

    async def _until_durable(self, run_id: str, epoch: int) -> None:
        """Wait until the run's events so far are durable; raise if it lost its epoch."""
        key = run_id, epoch
        if (work := self._abandoned.get(key)) is not None:
            work.cancel()  # the node that ignored its cancellation has ended; start no other
            raise asyncio.CancelledError
        recorder, writer = self._recorders.get(key), self._writers.get(key)
        if recorder is not None:
            await recorder.recorded()
        if writer is not None:
            await writer.saved()

    async def _resume(self, run: Run, graph: Any, config: Any, writer: EventWriter) -> Progress:
        """How far an earlier attempt got; retract the messages that it left unfinished."""
        progress = await progress_of(run, graph, config, self._log, writer.kept)
        for kind, message, metadata in progress.void:
            removed: dict[str, Any] = {
                "type": "remove",
                "id": message,
                "content": "",
                "additional_kwargs": {},
            }
            removed |= {"response_metadata": {}, "name": None}
            writer.append(kind, encode([removed, metadata]), durable=True)
        return progress

    async def _outcome(self, run: Run) -> Outcome:
        """The thread's state as an outcome: its values, and its interrupts."""
        graph = self.graphs.get(run.request.graph)
        if not isinstance(graph, Pregel):
            return Outcome("success")
        config: Any = {"configurable": {"thread_id": run.thread_id}}
        try:
            snapshot = await graph.aget_state(config)
        except StoreError:
            raise
        except Exception as error:
            _logger.warning("the state of thread %s cannot be read", run.thread_id, exc_info=error)
            return Outcome("error", explain(error))
        interrupts = {
            task.id: [{"id": each.id, "value": each.value} for each in task.interrupts]
            for task in snapshot.tasks
            if task.interrupts
        }
        status: RunStatus = "interrupted" if snapshot.next else "success"
        return Outcome(status, None, plain(snapshot.values), plain(interrupts), snapshot.next)


def _is_of_store(error: BaseException | None) -> bool:
    """Whether a failure of the store caused an error of a graph."""
    while error is not None:
        if isinstance(error, (StoreError, LostError)):
            return True
        error = error.__cause__ or error.__context__
    return False


def with_checkpointer(graphs: Mapping[str, Any], saver: Any) -> dict[str, Any]:
    """The graphs with this checkpointer; other objects than LangGraph's stay as they are."""
    return {
        name: graph.copy({"checkpointer": saver}) if isinstance(graph, Pregel) else graph
        for name, graph in graphs.items()
    }


def with_items(graph: Any, items: Items) -> Any:
    """The graph with these items as its ``store``, unless it has its own."""
    if not isinstance(graph, Pregel) or graph.store is not None:
        return graph
    return graph.copy({"store": items})


def check(graphs: Mapping[str, Any], request: RunRequest, metadata: Mapping[str, Any]) -> None:
    """Raise InvalidError if a request, or its metadata, is invalid."""
    if request.graph not in graphs:
        raise InvalidError(f"there is no graph {request.graph!r}; here: {', '.join(graphs)}")
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


async def check_checkpoint(
    graph: Any, thread_id: str, checkpoint_id: str, checkpoint_ns: str = ""
) -> None:
    """Raise CheckpointMissingError if a thread does not have this checkpoint.

    LangGraph would start from an empty state.
    """
    place = {"thread_id": thread_id, "checkpoint_ns": checkpoint_ns, "checkpoint_id": checkpoint_id}
    if isinstance(graph, Pregel):
        state = await graph.aget_state({"configurable": place})
        if state.created_at is not None:
            return
    raise CheckpointMissingError(checkpoint_id)


def command_of(command: Mapping[str, Any] | None) -> Command[Any] | None:
    """A client's command as LangGraph's; None for an empty one. Raises InvalidError."""
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
