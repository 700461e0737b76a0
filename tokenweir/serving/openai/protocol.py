"""OpenAI's chat protocol: each graph is a model, ``graph:tag`` answers with that tag's tokens only.

- ``GET /v1/models``, ``GET /v1/models/{id}``
- ``POST /v1/chat/completions``, streamed or not

A graph with ``messages`` gets the conversation; a graph over plain state gets the last message of
the user, as its one text key or, written as a JSON object, as all of its keys. Sampling parameters
belong to the models inside the graph and are not passed on. How a run becomes one answer is
``frames.py``'s matter, and ``answer.py``'s. There is no resume in this protocol: who leaves,
cancels.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import convert_to_messages
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tokenweir.serving.graph_inputs import MESSAGES, Key, keys_of
from tokenweir.serving.graph_tags import tags_in
from tokenweir.serving.http.bodies import parse, read_body
from tokenweir.serving.http.event_parts import EventParts
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.openai.answer import Answer
from tokenweir.serving.openai.frames import Frames
from tokenweir.serving.problems import InvalidError, ModelNotFoundError, NotFoundError
from tokenweir.serving.running.encoding import scrubbed
from tokenweir.serving.running.records import Run, RunRequest
from tokenweir.serving.running.runs import Runs
from tokenweir.serving.service import Service

__all__ = ["input_of", "routes"]

_MODES = ["messages", "custom", "tasks", "updates"]
_NOT_OURS = ("tools", "functions", "response_format", "audio", "prediction")
"""What changes the shape of an answer, and only the graph could do: refused, never ignored."""

_ROLES = ("system", "developer", "user", "assistant", "tool")
_PARTS = ("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_content")
"""What of a message is passed on; the rest would become whatever LangChain reads in it."""


def routes(service: Service) -> list[BaseRoute]:
    """The routes of this protocol."""
    protocol = _Protocol(service)
    return [
        Route("/v1/models", protocol.models),
        Route("/v1/models/{id:path}", protocol.model),
        Route("/v1/chat/completions", protocol.complete, methods=["POST"]),
    ]


class _Protocol:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._started = int(time.time())
        self._keys: dict[str, list[Key] | None] = {}
        self._names: list[str] = []

    @property
    def _runs(self) -> Runs:
        return self._service.runs

    async def models(self, request: Request) -> Response:
        if not self._names:
            for name, graph in self._runs.graphs.items():
                self._names += [name, *(f"{name}:{each}" for each in tags_in(graph))]
        found = [self._model(name) for name in self._names]
        return JSONResponse({"object": "list", "data": found})

    async def model(self, request: Request) -> Response:
        name = request.path_params["id"]
        self._graph_of(name)
        return JSONResponse(self._model(name))

    async def complete(self, request: Request) -> Any:
        """Run a graph and answer with what its models say."""
        body = await _body(request)
        graph, wanted_tag = self._graph_of(body["model"])
        given = input_of(graph, await self._input_keys(graph), body["messages"])
        owner = self._service.owner(request)
        wanted = RunRequest(graph=graph, input=given, modes=_MODES, subgraphs=True)
        run = await self._runs.start(wanted, owner=owner, metadata={"protocol": "openai"})
        answer = Answer(f"chatcmpl-{run.id}", body["model"], int(time.time()))
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        frames = Frames(answer, wanted_tag, usage=usage)
        if body.get("stream"):
            return EventStream(
                EventParts(self._runs.log.follow(run.id), frames.encode),
                self._service.limits,
                begun=frames.begin(),
                on_leave=lambda: self._cancel(run),
            )
        return await self._whole(request, run, answer, frames)

    async def _whole(self, request: Request, run: Run, answer: Answer, frames: Frames) -> Response:
        """The answer when it is complete; the run is cancelled if the client leaves first."""

        async def collect() -> dict[str, Any] | None:
            async for event in self._runs.follow(run.id):
                for chunk in frames.chunks(event):
                    if "error" in chunk:
                        return chunk
            return None

        collecting = asyncio.ensure_future(collect())
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not collecting.done():
                self._cancel(run)
                return Response(status_code=499)  # nobody reads it
            failed = collecting.result()
        finally:
            for task in (collecting, leaving):
                task.cancel()
            await asyncio.wait({collecting, leaving})
        if failed:
            # The SDK would run the graph twice more, whatever it has done and cost.
            return JSONResponse(failed, 500, headers={"x-should-retry": "false"})
        return JSONResponse(answer.whole())

    def _graph_of(self, model: str) -> tuple[str, str | None]:
        """The graph that a model's name means, and the tag."""
        graphs = self._runs.graphs
        if model in graphs:
            return model, None
        graph, colon, wanted = model.rpartition(":")
        if colon and graph in graphs and wanted:
            return graph, wanted
        raise ModelNotFoundError(
            f"there is no model {model!r}; models here are graphs: {', '.join(graphs)}, "
            "and GRAPH:TAG for the tokens of one tag"
        )

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": "tokenweir"}

    async def _input_keys(self, graph: str) -> list[Key] | None:
        if graph not in self._keys:
            self._keys[graph] = await asyncio.to_thread(keys_of, self._runs.graphs[graph])
        return self._keys[graph]

    def _cancel(self, run: Run) -> None:
        async def cancel() -> None:
            with contextlib.suppress(NotFoundError):
                await self._runs.cancel(run.id, run.owner)

        task = asyncio.get_running_loop().create_task(cancel())
        _BACKGROUND.add(task)
        task.add_done_callback(_BACKGROUND.discard)


_BACKGROUND: set[asyncio.Task[None]] = set()
"""Tasks that nobody waits for; the loop itself would forget them."""


def input_of(graph: str, keys: list[Key] | None, messages: list[Any]) -> Any:
    """A graph's input from a conversation.

    Raises:
        InvalidError: If the conversation does not say what the graph needs; with its keys.
    """
    if keys is None or any(key["name"] == MESSAGES for key in keys):
        try:
            convert_to_messages(messages)
        except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
            raise InvalidError(f"messages cannot be read: {scrubbed(str(error))}") from None
        return {MESSAGES: messages}
    said = next((_text(each) for each in reversed(messages) if each.get("role") == "user"), "")
    names = [key["name"] for key in keys]
    whole = _object(said)
    if whole is not None and set(whole) <= set(names):
        return whole
    texts = [key for key in keys if key["type"] in ("string", "any")]
    required = [key for key in keys if key["required"]]
    wanted = [key for key in texts if key["required"]] or texts
    if not said or len(required) > 1 or len(wanted) != 1 or (required and required != wanted):
        example = json.dumps(dict.fromkeys(names, "..."))
        raise InvalidError(
            f"{graph} takes {', '.join(names)}: write the user's message as JSON, {example}"
        )
    return {wanted[0]["name"]: said}


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def _object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = parse(text, "the message")
    except InvalidError:
        return None
    return found if isinstance(found, dict) else None


async def _body(request: Request) -> dict[str, Any]:
    body = await read_body(request)
    if not isinstance(body.get("model"), str):
        raise InvalidError("the body is a JSON object with model and messages")
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(_is_message(each) for each in messages):
        raise InvalidError(
            f"messages is a list of objects with role and content; roles are {', '.join(_ROLES)}"
        )
    if not messages:
        raise InvalidError("messages is empty")
    body["messages"] = [
        {"content": None, **{part: each[part] for part in _PARTS if part in each}}
        for each in messages
    ]
    if given := [name for name in _NOT_OURS if body.get(name)]:
        raise InvalidError(f"a graph decides on {', '.join(given)} itself; leave it out")
    if body.get("n") not in (None, 1):
        raise InvalidError("a graph gives one answer: n is 1")
    if not isinstance(body.get("stream") or False, bool):
        raise InvalidError("stream is true or false")
    if not isinstance(body.get("stream_options") or {}, dict):
        raise InvalidError("stream_options is an object")
    return body


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("role") not in _ROLES:
        return False
    content = value.get("content")
    if isinstance(content, list):
        return all(isinstance(part, dict) for part in content)
    if content is None:
        return bool(value["role"] == "assistant")
    return isinstance(content, str)


async def _left(request: Request) -> None:
    """Return when the client has left."""
    with contextlib.suppress(OSError):
        while (await request.receive())["type"] != "http.disconnect":
            pass
