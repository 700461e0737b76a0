"""AG-UI: each graph is an agent, for ``@ag-ui/client``'s ``HttpAgent`` and for CopilotKit.

- ``POST /agui/{graph}`` runs a graph on a thread, and streams the run's events.
- ``POST /agui/{graph}/connect`` sends what a thread has, and streams its unfinished run.

A run continues for some seconds after its client disconnects, so that a reloaded page can
reconnect; then it is stopped. A new run on a thread stops the one before it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from tokenweir.encoders.agui import AgUi
from tokenweir.serving.agui.frames import Frames
from tokenweir.serving.agui.messages import for_graph
from tokenweir.serving.agui.schema import RunAgentInput
from tokenweir.serving.chat_runs import ChatQuery, ChatRuns
from tokenweir.serving.conversations import answers, has_messages, input_of, refusal, unseen
from tokenweir.serving.graph_inputs import MESSAGES, Key
from tokenweir.serving.http.endpoints import Operation, routes_of
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.problems import InvalidError
from tokenweir.serving.running.ids import check_id
from tokenweir.serving.running.records import Command, Config, Run, RunRequest, Thread
from tokenweir.serving.service import Service

__all__ = ["routes"]

_MODES = ["messages", "custom", "tasks", "values"]
_MOST_RUNS = 100
"""The most runs that are sent again for a thread whose graph keeps no messages; the newest ones."""

_EXAMPLE = {
    "threadId": "thread-1",
    "runId": "run-1",
    "messages": [{"id": "1", "role": "user", "content": "Hello"}],
}


def routes(service: Service) -> list[BaseRoute]:
    """The routes of this protocol."""
    return routes_of(_Protocol(service), "AG-UI")


class _Protocol:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._runs = ChatRuns(service, "ag-ui")

    @Operation("POST", "/agui/{name}", refuses=(404, 422, 503), example=_EXAMPLE)
    async def run(self, request: Request, query: ChatQuery, body: RunAgentInput) -> EventStream:
        """Run a graph on a thread, and stream the run.

        A graph with `messages` gets the messages that its thread lacks. A graph over plain state
        gets the user's last message, as its only text key or, if it is a JSON object, as all of
        its keys. `resume` answers the thread's interrupts.
        """
        name, owner = self._service.graph_of(request), self._service.owner(request)
        check_id("threadId", body.thread_id)
        props = body.forwarded_props or {}
        thread = await self._runs.take_over(body.thread_id, owner)
        command = _command(thread, body)
        given = (
            None
            if command
            else self._input(name, await self._service.input_keys(name), body, thread)
        )
        wanted = RunRequest(
            graph=name,
            input=given,
            command=command,
            config=cast("Config", _checked(props, "config") or {}),
            context=_checked(props, "context"),
            modes=_MODES,
            subgraphs=True,
            only=query.only or _checked(props, "only", str),
        )
        run = await self._runs.start(wanted, body.thread_id, owner)
        ids = {"threadId": body.thread_id, "runId": body.run_id or run.id}
        frames = Frames(run, ids, body.messages)
        return self._runs.stream(run, frames, query.on_disconnect)

    @Operation("POST", "/agui/{name}/connect", refuses=(404, 422, 503), example=_EXAMPLE)
    async def connect(self, request: Request, query: ChatQuery, body: RunAgentInput) -> EventStream:
        """Send what a thread has, and stream its unfinished run.

        This starts no run. The thread's last run is sent from its beginning, after the messages
        before it. If the graph keeps no messages, all of the thread's runs are sent.
        """
        name, owner = self._service.graph_of(request), self._service.owner(request)
        check_id("threadId", body.thread_id)
        runs = await self._runs.newest(body.thread_id, owner, name, limit=_MOST_RUNS)
        keeps = has_messages(await self._service.input_keys(name))
        if not runs:
            return EventStream(_nothing(body.thread_id, body.run_id), self._service.limits)
        last, *earlier = runs
        if keeps:
            earlier = []
        past = [await self._runs.past(run, _frames(run, keeps=False)) for run in reversed(earlier)]
        frames = _frames(last, keeps=keeps)
        return self._runs.stream(last, frames, query.on_disconnect, begun=b"".join(past))

    # Inside

    def _input(
        self, name: str, keys: list[Key] | None, body: RunAgentInput, thread: Thread | None
    ) -> Any:
        """The graph's input: the user's message, and what the client has changed in the state."""
        there = (thread.values if thread is not None else None) or {}
        names = {key["name"] for key in keys or ()} - {MESSAGES}
        state = body.state if isinstance(body.state, Mapping) else {}
        given = {
            key: value
            for key, value in state.items()
            if key in names and (key not in there or there[key] != value)
        }
        more = {"tools": body.tools, "context": body.context}
        given |= {key: value for key, value in more.items() if key in names and value}
        said = for_graph(body.messages)
        if has_messages(keys):
            return {**given, **input_of(name, keys, unseen(said, thread))}
        if given and not any(message["role"] == "user" for message in said):
            return given
        return {**given, **input_of(name, keys, said)}


def _frames(run: Run, *, keeps: bool) -> Frames:
    """The frames of a run for a client that has nothing of it."""
    ids = {"threadId": run.thread_id, "runId": run.id}
    if keeps:
        return Frames(run, ids, None)
    given = run.request.input
    texts = list(given.values()) if isinstance(given, Mapping) else [given]
    if len(texts) == 1 and isinstance(texts[0], str):
        text = texts[0]
    else:
        text = msgspec.json.encode(given).decode()
    said = {"id": f"{run.id}:input", "role": "user", "content": text}
    return Frames(run, ids, [], said if given is not None else None)


async def _nothing(thread_id: str, run_id: str) -> AsyncIterator[bytes]:
    """The answer for a thread without runs: the protocol requires a run."""
    writer = AgUi()
    yield writer.start({"threadId": thread_id, "runId": run_id or thread_id})
    yield writer.finish({"type": "success"})


def _command(thread: Thread | None, body: RunAgentInput) -> Command | None:
    """The client's answers to the thread's interrupts; None if there are none."""
    if body.resume:
        given = {
            entry.interrupt_id: entry.payload
            if entry.status == "resolved"
            else refusal(thread, entry.interrupt_id)
            for entry in body.resume
        }
        found = answers(thread, given)
        if unknown := given.keys() - found.keys():
            raise InvalidError(
                f"no interrupt of this thread has the id {', '.join(sorted(unknown))}"
            )
        return {"resume": found}
    command = (body.forwarded_props or {}).get("command")
    if isinstance(command, Mapping) and command.get("resume") is not None:
        return {"resume": command["resume"]}
    return None


def _checked(props: Mapping[str, Any], name: str, kind: type = dict) -> Any:
    value = props.get(name)
    if value is not None and not isinstance(value, kind):
        wanted = "a string" if kind is str else "an object"
        raise InvalidError(f"forwardedProps.{name} must be {wanted}")
    return value
