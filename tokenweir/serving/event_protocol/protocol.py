"""LangGraph's event protocol, as ``client.threads.stream()``, ``RemoteGraph`` and the npm client's
``threads.stream()`` and ``useStream`` of ``@langchain/react`` speak it.

- ``POST /threads/{thread_id}/commands`` starts runs, answers interrupts, reads the state.
- ``POST /threads/{thread_id}/stream/events`` streams a thread's events without end: it starts with
  the thread's last run, or after a ``seq``, and continues with later runs. A WebSocket on the same
  path carries both commands and events.

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
        """Carry out a command on a thread.

        Start a run (the thread is created if there is none), answer an interrupt, add a message,
        read the state and earlier checkpoints, or fork from one. A command that cannot be carried
        out is answered with `"type": "error"`, at status 200.
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

        An event's name is its channel (`input.requested` for `input`). Ids count over all runs of
        the thread; `since` continues after one. The start of a message has its tags and its node.
        """
        thread_id, owner = request.path_params["thread_id"], self._service.owner(request)
        parts = await follow(self._service.runs, thread_id, owner, body, self._ends)
        return EventStream(parts, self._service.limits)

    async def socket(self, socket: WebSocket) -> None:
        """Serve a WebSocket of a thread."""
        await Socket(self._service, self._ends, socket).run()
