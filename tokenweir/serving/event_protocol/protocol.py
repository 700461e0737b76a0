"""LangGraph's event protocol, as ``client.threads.stream()``, ``RemoteGraph`` and the npm client's
``threads.stream()`` and ``useStream`` of ``@langchain/react`` speak it.

- ``POST /threads/{thread_id}/commands`` starts runs, answers questions, looks at the state.
- ``POST /threads/{thread_id}/stream/events`` streams a thread's events: of the run that runs, or
  ran last, then of those that follow; or from after a ``seq``. It does not end. The same path is a
  WebSocket's, for both.

Checked against langgraph-sdk 0.4.14 and langgraph 1.2.22, and against @langchain/langgraph-sdk
1.15.0 and @langchain/react 1.1.0.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from tokenweir.serving.ends import Ends
from tokenweir.serving.event_protocol.commands import Commands
from tokenweir.serving.event_protocol.following import follow
from tokenweir.serving.event_protocol.schema import CommandAnswer, ThreadCommand, ThreadEventsAsked
from tokenweir.serving.event_protocol.socket import Socket
from tokenweir.serving.http.endpoints import Operation, routes_of
from tokenweir.serving.http.event_stream import EventStream
from tokenweir.serving.service import Service

__all__ = ["routes"]

_EXAMPLE = {
    "id": 1,
    "method": "run.start",
    "params": {"assistant_id": "joke_poem", "input": {"topic": "cats"}},
}


def routes(service: Service) -> list[BaseRoute]:
    """The routes of this protocol."""
    room = _Protocol(service)
    return [
        *routes_of(room, "Event protocol"),
        WebSocketRoute("/threads/{thread_id}/stream/events", room.socket),
    ]


class _Protocol:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._ends = Ends()

    @Operation(
        "POST", "/threads/{thread_id}/commands", refuses=(404, 422, 429, 503), example=_EXAMPLE
    )
    async def command(self, request: Request, body: ThreadCommand) -> CommandAnswer:
        """Have a thread do something.

        Start a run (a thread that is not there is made), answer a question, add a message, look at
        the state and at earlier ones, go on from one of them. That it cannot be done is told in
        the answer, with status 200.
        """
        thread_id, owner = request.path_params["thread_id"], self._service.owner(request)
        return await Commands(self._service.runs, thread_id, owner).carry_out(body)

    @Operation(
        "POST",
        "/threads/{thread_id}/stream/events",
        gives=str,
        kinds=["text/event-stream"],
        refuses=(404, 422),
        example={"channels": ["messages", "lifecycle"]},
    )
    async def events(self, request: Request, body: ThreadEventsAsked) -> EventStream:
        """Stream a thread's events, run after run, without end.

        Their names are the channels (`input.requested` of `input`), their ids count over all runs:
        `since` goes on after one. A message's beginning has its tags and its node.
        """
        thread_id, owner = request.path_params["thread_id"], self._service.owner(request)
        parts = await follow(self._service.runs, thread_id, owner, body, self._ends)
        return EventStream(parts, self._service.limits)

    async def socket(self, socket: WebSocket) -> None:
        """A WebSocket of a thread."""
        await Socket(self._service, self._ends, socket).run()
