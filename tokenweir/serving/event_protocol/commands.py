"""The protocol's commands on a thread: start runs, answer interrupts, read the state, fork."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from langgraph.pregel import Pregel

from tokenweir.serving.event_protocol import schema
from tokenweir.serving.event_protocol.frames import RunFrames
from tokenweir.serving.event_protocol.numbers import MOST, end_of, seq
from tokenweir.serving.event_protocol.subscription import Subscription
from tokenweir.serving.http.bodies import parse
from tokenweir.serving.log.events import scan_so_far
from tokenweir.serving.problems import (
    CheckpointMissingError,
    ConflictError,
    InvalidError,
    NotFoundError,
)
from tokenweir.serving.running.configs import fork_of
from tokenweir.serving.running.encoding import encode
from tokenweir.serving.running.records import Command as GraphCommand
from tokenweir.serving.running.records import Config, Run, RunRequest, Thread
from tokenweir.serving.running.runs import Runs

__all__ = ["Commands"]

S = TypeVar("S")

_MODES = ["messages", "values", "updates", "custom", "tasks", "checkpoints", "tools"]
"""The stream modes that a run records, as a later reader may ask for any channel."""

_OF_SOCKETS = ("subscription.subscribe", "subscription.unsubscribe", "subscription.reconnect")


class _RefusedError(Exception):
    """A command that cannot be carried out; ``error`` is the protocol's code for the reason."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class Commands:
    """Carries out the commands of one client on one thread."""

    def __init__(self, runs: Runs, thread_id: str, owner: str) -> None:
        self._runs = runs
        self._thread_id = thread_id
        self._owner = owner
        self._known: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "run.start": self._start,
            "input.respond": self._respond,
            "input.inject": self._inject,
            "state.get": self._state,
            "state.listCheckpoints": self._checkpoints,
            "state.fork": self._fork,
            "agent.getTree": self._tree,
        }

    async def carry_out(self, command: schema.ThreadCommand) -> schema.CommandAnswer:
        """Carry out a command and return its answer; a refused command gets an error answer.

        Raises errors that are not about the command, such as a full queue or a store that fails.
        """
        before = 0
        try:
            work = self._known.get(command.method)
            if command.method in _OF_SOCKETS:
                raise _RefusedError(
                    "not_supported",
                    "subscriptions need a WebSocket; over HTTP, POST to stream/events with since",
                )
            if work is None:
                raise _RefusedError("unknown_command", f"there is no command {command.method!r}")
            before = await self._so_far()
            result = await work(command.params)
        except _RefusedError as error:
            return _error(command, error.error, str(error))
        except CheckpointMissingError as error:
            return _error(command, "no_such_checkpoint", str(error))
        except (InvalidError, ConflictError) as error:
            return _error(command, "invalid_argument", str(error))
        except NotFoundError as error:
            return _error(command, "no_such_run", str(error))
        meta = {"applied_through_seq": before}
        return schema.CommandAnswer(type="success", id=command.id, result=result, meta=meta)

    async def _so_far(self) -> int:
        """The number of the thread's last event so far; all later events have greater numbers."""
        try:
            latest = await self._runs.store.latest(self._thread_id, self._owner)
        except NotFoundError:
            return 0
        if latest is None:
            return 0
        if latest.final:
            return end_of(latest.turn)
        return seq(latest.turn, await self._runs.log.last_id(latest.id), MOST)

    # Runs

    async def _start(self, params: Any) -> Any:
        asked = _read(params, schema.RunStart)
        given: dict[str, Any] = {"input": asked.input}
        if asked.input is not None and not fork_of(asked.config) and await self._questions():
            given = {"command": {"resume": asked.input}}  # as RemoteGraph resumes
        run = await self._run(
            asked.assistant_id,
            **given,
            config=asked.config,
            context=asked.context,
            only=asked.only,
            metadata=asked.metadata,
            strategy=asked.multitask_strategy or "enqueue",
        )
        return {"run_id": run.id}

    async def _respond(self, params: Any) -> Any:
        asked = _read(params, schema.Responses)
        questions, last = await self._questions(), await self._last()
        answers = asked.by_interrupt
        if not answers or not set(answers) <= questions:
            unknown = ", ".join(sorted(set(answers) - questions)) or "none is named"
            raise _RefusedError(
                "no_such_interrupt", f"no such interrupt waits for an answer: {unknown}"
            )
        command: GraphCommand = {"resume": answers}
        if asked.update is not None:
            command["update"] = asked.update
        if asked.goto is not None:
            command["goto"] = asked.goto
        run = await self._run(
            last.assistant_id, command=command, config=asked.config, metadata=asked.metadata
        )
        return {"run_id": run.id}

    async def _inject(self, params: Any) -> Any:
        asked = _read(params, schema.Inject)
        if asked.namespace:
            raise _RefusedError("not_supported", "a message can only be added to the root graph")
        last = await self._last()
        message = {n: v for n, v in msgspec.structs.asdict(asked.message).items() if v is not None}
        run = await self._run(last.assistant_id, input={"messages": [message]})
        return {"run_id": run.id}

    async def _fork(self, params: Any) -> Any:
        asked = _read(params, schema.Fork)
        last = await self._last()
        run = await self._run(
            last.assistant_id,
            input=asked.input,
            config=asked.config,
            checkpoint_id=asked.checkpoint_id,
        )
        return {"run_id": run.id, "thread_id": self._thread_id}

    async def _run(
        self,
        assistant_id: str,
        *,
        config: Config | None = None,
        metadata: dict[str, Any] | None = None,
        strategy: str = "enqueue",
        checkpoint_id: str | None = None,
        **more: Any,
    ) -> Run:
        try:
            assistant = await self._runs.assistant(assistant_id, self._owner)
        except NotFoundError as error:
            raise InvalidError(str(error)) from None
        if checkpoint_id is None:
            checkpoint_id = fork_of(config)
        request = RunRequest(
            graph=assistant.graph,
            config=config or {},
            modes=_MODES,
            subgraphs=True,
            checkpoint_id=checkpoint_id,
            **more,
        )
        return await self._runs.start(
            request,
            owner=self._owner,
            thread_id=self._thread_id,
            assistant_id=assistant.id,
            strategy=strategy,
            metadata=metadata,
        )

    # Reading the thread

    async def _thread(self) -> Thread:
        return await self._runs.thread(self._thread_id, self._owner)

    async def _questions(self) -> set[str]:
        """The ids of the interrupts that wait for an answer."""
        try:
            thread = await self._thread()
        except NotFoundError:
            return set()
        return {each["id"] for several in thread.interrupts.values() for each in several}

    async def _last(self) -> Run:
        """The thread's last run; it names the assistant for the next one."""
        found = await self._runs.store.latest(self._thread_id, self._owner)
        if found is None:
            raise _RefusedError("no_such_run", "no run has begun on this thread")
        return found

    async def _graph(self) -> Pregel[Any, Any, Any, Any]:
        graph = self._runs.graphs.get((await self._thread()).graph or "")
        if not isinstance(graph, Pregel):
            raise _RefusedError("not_supported", "the thread's graph has no state")
        return graph

    def _place(self, namespace: list[str], checkpoint_id: str | None = None) -> Any:
        configurable: dict[str, Any] = {"thread_id": self._thread_id}
        if namespace or checkpoint_id:
            configurable["checkpoint_ns"] = "|".join(namespace)
        if checkpoint_id:
            configurable["checkpoint_id"] = checkpoint_id
        return {"configurable": configurable}

    async def _state(self, params: Any) -> Any:
        asked = _read(params, schema.StateAsked)
        graph = await self._graph()
        try:
            found = await graph.aget_state(self._place(asked.namespace))
        except ValueError as error:
            raise _RefusedError("no_such_namespace", str(error)) from None
        values: Any = found.values
        if asked.keys is not None and isinstance(values, dict):
            values = {key: values[key] for key in asked.keys if key in values}
        result = {"values": values}
        if (newest := _checkpoint_id(found.config)) is not None:
            result["checkpoint"] = {"id": newest, "ns": "|".join(asked.namespace)}
        return result

    async def _checkpoints(self, params: Any) -> Any:
        asked = _read(params, schema.CheckpointsAsked)
        graph = await self._graph()
        before = self._place(asked.namespace, asked.before) if asked.before else None
        history = graph.aget_state_history(
            self._place(asked.namespace), before=before, limit=asked.limit
        )
        return {
            "checkpoints": [
                {
                    "id": _checkpoint_id(each.config),
                    "timestamp": each.created_at,
                    "step": (each.metadata or {}).get("step", -1),
                    "metadata": each.metadata,
                }
                async for each in history
            ]
        }

    async def _tree(self, params: Any) -> Any:
        asked = _read(params, schema.TreeAsked)
        run = await self._last()
        if asked.run_id is not None:
            run = await self._runs.get(asked.run_id, self._owner)
            if run.thread_id != self._thread_id:
                raise NotFoundError(f"there is no run {run.id} on this thread")
        frames = RunFrames(run, Subscription(["lifecycle"]))
        await scan_so_far(self._runs.log, run.id, frames.take)
        status = {"success": "completed", "interrupted": "interrupted"}.get(run.status, "failed")
        root: Any = {
            "namespace": [],
            "status": status if run.final else "running",
            "graph_name": run.request.graph,
            "children": [],
        }
        nodes: dict[tuple[str, ...], Any] = {(): root}
        for place, about in sorted(frames.subgraphs.tree.items()):
            node = {"namespace": list(place), "status": about["event"]}
            nodes[place] = {**node, "graph_name": about["graph_name"], "children": []}
            nodes.get(place[:-1], root)["children"].append(nodes[place])
        return {"tree": root}


def _read(params: Any, kind: type[S]) -> S:
    read: S = parse(encode(params), "params", kind)
    return read


def _checkpoint_id(config: Any) -> str | None:
    found: str | None = ((config or {}).get("configurable") or {}).get("checkpoint_id")
    return found


def _error(command: schema.ThreadCommand, error: str, message: str) -> schema.CommandAnswer:
    return schema.CommandAnswer(type="error", id=command.id, error=error, message=message)
