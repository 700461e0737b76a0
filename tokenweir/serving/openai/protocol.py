"""OpenAI's chat protocol: each graph is a model, ``graph:tag`` answers with that tag's tokens only.

- ``GET /v1/models``, ``GET /v1/models/{id}``
- ``POST /v1/chat/completions``, streamed or not

A graph with ``messages`` gets the conversation. A graph over plain state gets the user's last
message, as its only text key or, if it is a JSON object, as all of its keys. Sampling parameters
belong to the models inside the graph and are not passed on. ``frames.py`` and ``answer.py`` turn a
run into one answer. The protocol cannot resume a stream: a run is cancelled when its client
disconnects.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from tokenweir.serving.conversations import input_of
from tokenweir.serving.graph_tags import tags_in
from tokenweir.serving.http.endpoints import Operation, routes_of
from tokenweir.serving.http.event_parts import EventParts
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.openai.answer import Answer
from tokenweir.serving.openai.frames import Frames
from tokenweir.serving.openai.schema import ChatRequest, Completion, Message, Model, Models
from tokenweir.serving.problems import InvalidError, ModelNotFoundError
from tokenweir.serving.running.records import Run, RunRequest
from tokenweir.serving.running.runs import Runs
from tokenweir.serving.service import Service

__all__ = ["routes"]

_MODES = ["messages", "custom", "tasks", "updates"]

_logger = logging.getLogger("tokenweir.serving")

_EXAMPLE = {
    "model": "chat",
    "messages": [{"role": "user", "content": "Hello"}],
    "stream": True,
}


def routes(service: Service) -> list[BaseRoute]:
    """The routes of this protocol."""
    return routes_of(_Protocol(service), "OpenAI")


class _Protocol:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._started = int(time.time())
        self._names: list[str] = []

    @property
    def _runs(self) -> Runs:
        return self._service.runs

    @Operation("GET", "/v1/models")
    async def models(self, request: Request) -> Models:
        """List the models: every graph, and every `graph:tag` that is known."""
        if not self._names:
            for name, graph in self._runs.graphs.items():
                self._names += [name, *(f"{name}:{each}" for each in tags_in(graph))]
        return Models(data=[self._model(name) for name in self._names])

    @Operation("GET", "/v1/models/{id:path}")
    async def model(self, request: Request) -> Model:
        """Read a model: a graph, or `graph:tag`."""
        name = request.path_params["id"]
        self._graph_of(name)
        return self._model(name)

    @Operation("POST", "/v1/chat/completions", refuses=(400, 404, 500, 503), example=_EXAMPLE)
    async def complete(
        self, request: Request, body: ChatRequest
    ) -> Completion | EventStream | Response:
        """Run a graph, and answer with the text of its models.

        A graph with `messages` gets the conversation. A graph over plain state gets the user's last
        message, as its only text key or, if it is a JSON object, as all of its keys. Sampling
        parameters belong to the models inside the graph, and are not passed on. A stream has the
        chunks of the answer, then `[DONE]`.
        """
        graph, wanted_tag = self._graph_of(body.model)
        messages = [_checked(each) for each in body.messages]
        given = input_of(graph, await self._service.input_keys(graph), messages)
        owner = self._service.owner(request)
        wanted = RunRequest(graph=graph, input=given, modes=_MODES, subgraphs=True)
        run = await self._runs.start(wanted, owner=owner, metadata={"protocol": "openai"})
        answer = Answer(f"chatcmpl-{run.id}", body.model, int(time.time()))
        usage = body.stream_options is not None and bool(body.stream_options.include_usage)

        def warn(text: str) -> None:
            _logger.warning("run %s of %r: %r", run.id, body.model, text)

        frames = Frames(answer, wanted_tag, usage=usage, warn=warn)
        if body.stream:
            return EventStream(
                EventParts(self._runs.log.follow(run.id), frames.encode),
                self._service.limits,
                begun=frames.begin(),
                on_leave=lambda: self._runs.cancel_soon(run),
            )
        return await self._whole(request, run, answer, frames)

    async def _whole(
        self, request: Request, run: Run, answer: Answer, frames: Frames
    ) -> Completion | Response:
        """The complete answer; the run is cancelled if the client disconnects first."""

        async def collect() -> Mapping[str, Any] | None:
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
                self._runs.cancel_soon(run)
                return Response(status_code=499)  # the client is gone
            failed = collecting.result()
        finally:
            for task in (collecting, leaving):
                task.cancel()
            await asyncio.wait({collecting, leaving})
        if failed:
            # The SDK would run the graph twice more, with all its effects and costs.
            return JSONResponse(failed, 500, headers={"x-should-retry": "false"})
        return answer.whole()

    def _graph_of(self, model: str) -> tuple[str, str | None]:
        """The graph and the tag in a model's name."""
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

    def _model(self, name: str) -> Model:
        return Model(id=name, created=self._started)


def _checked(message: Message) -> dict[str, Any]:
    """A message for LangChain. Raises InvalidError if its content is missing."""
    if message.get("content") is None and message["role"] != "assistant":
        raise InvalidError(f"content is missing in a message of {message['role']}")
    return {"content": None, **message}


async def _left(request: Request) -> None:
    """Return when the client has disconnected."""
    with contextlib.suppress(OSError):
        while (await request.receive())["type"] != "http.disconnect":
            pass
