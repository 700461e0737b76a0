"""The AI SDK's UI message stream, for ``useChat`` with its default transport. A chat is a thread.

- ``POST /ai/{graph}`` runs a graph on a chat, and streams the run as one message.
- ``GET /ai/{graph}/{chat}/stream`` streams the unfinished message of a chat from its beginning.

In the page: ``new DefaultChatTransport({api: "http://localhost:8000/ai/chat"})``. A run continues
for some seconds after its client disconnects, so that a reloaded page can reconnect; then it is
stopped. A new message on a chat stops the run before it.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tokenweir.encoders.ai_sdk import HEADERS, AiSdk
from tokenweir.serving.ai_sdk.frames import Frames
from tokenweir.serving.ai_sdk.messages import answers_in, for_graph, outputs_in
from tokenweir.serving.ai_sdk.schema import ChatAsked
from tokenweir.serving.chat_runs import ChatQuery, ChatRuns
from tokenweir.serving.conversations import answers, has_messages, input_of, unseen
from tokenweir.serving.event_tokens import void_in
from tokenweir.serving.graph_inputs import MESSAGES, Key
from tokenweir.serving.http.endpoints import Operation, routes_of
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.problems import InvalidError
from tokenweir.serving.running.ids import check_id
from tokenweir.serving.running.records import Command, Run, RunRequest, Thread
from tokenweir.serving.service import Service

__all__ = ["routes"]

_MODES = ["messages", "custom", "tasks"]
_MOST_RUNS = 20
"""The most runs that make up one message; each answered interrupt adds one."""

_UNREAD_SECONDS = 60.0
"""Seconds for which a complete message is still sent to a reader whose connection was cut."""

_EXAMPLE = {
    "id": "chat-1",
    "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}],
}
_SETS = {"x-vercel-ai-ui-message-stream": "The protocol's version."}


def routes(service: Service) -> list[BaseRoute]:
    """The routes of this protocol."""
    return routes_of(_Protocol(service), "AI SDK")


class _Protocol:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._runs = ChatRuns(service, "ai-sdk")

    @Operation("POST", "/ai/{name}", refuses=(404, 422, 503), sets=_SETS, example=_EXAMPLE)
    async def run(self, request: Request, query: ChatQuery, body: ChatAsked) -> EventStream:
        """Run a graph on a chat, and stream the run as one message.

        A graph with `messages` gets the messages that its thread lacks. A graph over plain state
        gets the user's last message, as its only text key or, if it is a JSON object, as all of
        its keys. Answers to interrupts in the last message resume the interrupted run.
        """
        name, owner = self._service.graph_of(request), self._service.owner(request)
        check_id("id", body.id)
        thread = await self._runs.take_over(body.id, owner)
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
            config=body.config or {},
            context=body.context,
            modes=_MODES,
            subgraphs=True,
            only=query.only or body.only,
        )
        run = await self._runs.start(wanted, body.id, owner)
        last = body.messages[-1] if body.messages else None
        goes_on = last is not None and last.role == "assistant" and last.id
        frames = Frames(AiSdk(), run, last.id if last is not None and goes_on else run.id)
        return self._runs.stream(run, frames, query.on_disconnect, headers=HEADERS)

    @Operation(
        "GET",
        "/ai/{name}/{chat}/stream",
        sets=_SETS,
        also={204: "There is no unfinished message."},
    )
    async def resume(self, request: Request, query: ChatQuery) -> EventStream | Response:
        """Stream the unfinished message of a chat from its beginning."""
        name, owner = self._service.graph_of(request), self._service.owner(request)
        runs = await self._runs.newest(request.path_params["chat"], owner, name, limit=_MOST_RUNS)
        if not runs or not self._is_wanted(runs[0]):
            return Response(status_code=204)
        chain = [runs[0]]
        for run in runs[1:]:
            if not (chain[-1].request.command or {}).get("resume"):
                break
            chain.append(run)
        writer, begun = AiSdk(), b""
        for run in reversed(chain[1:]):
            begun += await self._runs.past(run, await self._known(run, writer, chain))
        frames = await self._known(chain[0], writer, chain)
        return self._runs.stream(
            chain[0], frames, query.on_disconnect, begun=begun, headers=HEADERS
        )

    # Inside

    def _input(
        self, name: str, keys: list[Key] | None, body: ChatAsked, thread: Thread | None
    ) -> Any:
        said, more = for_graph(body.messages), body.input or {}
        last = body.messages[-1] if body.messages else None
        results: list[dict[str, Any]] = []
        if last is not None and last.role == "assistant":
            given = outputs_in(last) if has_messages(keys) else ()
            results = [each for each in given if _is_open(thread, each["tool_call_id"])]
            if not results:
                raise InvalidError(
                    "the last message is the assistant's, but answers no interrupt or tool call"
                )
        if has_messages(keys):
            return {**input_of(name, keys, [*unseen(said, thread), *results]), **more}
        return more or input_of(name, keys, said)

    async def _known(self, run: Run, writer: AiSdk, chain: list[Run]) -> Frames:
        """The frames of one of a message's runs, for a client that reads it again."""
        return Frames(
            writer,
            run,
            chain[-1].id,
            begins=run is chain[-1],
            ends=run is chain[0],
            void=await void_in(run, self._service.runs.log),  # version 6 cannot retract these
        )

    def _is_wanted(self, run: Run) -> bool:
        """Whether a run is unfinished, or has ended but a reader may not have all of it.

        If a resumed run has retracted something, version 6 of the SDK gives up there, although the
        end was sent to it; it asks again.
        """
        ends = self._runs.ends
        wanted = ends.is_recent if run.attempt > 1 else ends.is_news
        return not run.final or wanted(run, _UNREAD_SECONDS)


def _command(thread: Thread | None, body: ChatAsked) -> Command | None:
    """The answers to the chat's interrupts in its last message; None if there are none."""
    last = body.messages[-1] if body.messages else None
    if last is None or last.role != "assistant":
        return None
    found = answers(thread, answers_in(last))
    return {"resume": found} if found else None


def _is_open(thread: Thread | None, call_id: str) -> bool:
    """Whether a thread has this tool call without a result."""
    values = thread.values if thread is not None else None
    there = values.get(MESSAGES) if isinstance(values, dict) else None
    asked = False
    for message in there if isinstance(there, list) else ():
        if message.get("tool_call_id") == call_id:
            return False
        asked = asked or any(call["id"] == call_id for call in message.get("tool_calls") or ())
    return asked
