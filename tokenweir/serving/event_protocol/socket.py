"""The event protocol over a WebSocket: commands from the client, answers and events to it.

``subscription.subscribe`` starts a stream of events, ``subscription.unsubscribe`` ends it. A
subscription starts where a stream of server-sent events would, and takes the same ``since``.
Subscriptions end with their connection, and ``subscription.reconnect`` reports this: a client that
reconnects subscribes again, with the last ``seq`` that it received as ``since``.

Events are sent in the order of their numbers, over all subscriptions of the connection. npm's
client gives each event to all of its subscriptions that want it; the end of a run would cut short
another subscription if it overtook that one's messages. For the same reason, no events are sent
while a command to subscribe is waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from tokenweir.serving.ends import Ends
from tokenweir.serving.event_protocol import schema
from tokenweir.serving.event_protocol.commands import Commands
from tokenweir.serving.event_protocol.following import follow
from tokenweir.serving.event_protocol.frames import RunFrames
from tokenweir.serving.event_protocol.numbers import end_of
from tokenweir.serving.event_protocol.order import Order
from tokenweir.serving.event_protocol.reader import ThreadParts
from tokenweir.serving.http.bodies import parse
from tokenweir.serving.problems import CutOffError, NotFoundError, ServingError
from tokenweir.serving.running.encoding import encode
from tokenweir.serving.running.ids import new_id
from tokenweir.serving.service import Service

__all__ = ["Socket"]

_CONNECTED = WebSocketState.CONNECTED
_RESTART, _TOO_SLOW, _REFUSED = 1012, 1013, 4000
"""Close codes: server restart; client too slow; an error, with its HTTP status added."""

_MOST = 16
"""Subscriptions per connection; each reads the thread separately."""


class Socket:
    """One connection."""

    def __init__(self, service: Service, ends: Ends, socket: WebSocket) -> None:
        self._service = service
        self._ends = ends
        self._socket = socket
        self._thread_id: str = socket.path_params["thread_id"]
        self._owner: str = socket.scope.get("tokenweir.owner", "")
        self._following: dict[str, asyncio.Task[None]] = {}
        self._order = Order()
        self._asked: asyncio.Queue[tuple[str, schema.ThreadCommand] | ServingError]
        self._asked = asyncio.Queue(_MOST)
        """Commands to carry out, each with an id for the subscription it may create."""
        self._sending = asyncio.Lock()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails with the error that ends the connection; a client that disconnects is one, too."""

    async def run(self) -> None:
        """Serve the connection until it ends."""
        await self._socket.accept()
        always = [self._watched(self._listen()), self._watched(self._carry_out())]
        try:
            await self._over
        except WebSocketDisconnect:
            pass
        except asyncio.TimeoutError:
            await self._close(_TOO_SLOW)
        except CutOffError:
            await self._close(_RESTART)
        except ServingError as error:
            await self._close(_REFUSED + error.status)
        except RuntimeError:
            if self._socket.client_state is self._socket.application_state is _CONNECTED:
                raise
        finally:
            tasks = [*always, *self._following.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _watched(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose error ends the connection."""

        def look(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) and not self._over.done():
                self._over.set_exception(error)

        task = asyncio.ensure_future(work)
        task.add_done_callback(look)
        return task

    async def _close(self, code: int) -> None:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, asyncio.TimeoutError):
            closing = self._socket.close(code)
            await asyncio.wait_for(closing, self._service.limits.slow_seconds)

    async def _send(self, document: bytes) -> None:
        """Send text; raise TimeoutError if the client does not read."""
        async with self._sending:
            sending = self._socket.send_text(document.decode())
            await asyncio.wait_for(sending, self._service.limits.slow_seconds)

    async def _heard(self) -> str | bytes:
        """The client's next message; it may send its JSON as text or as bytes."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        said: str | bytes = message.get("text") or message.get("bytes") or b""
        return said

    async def _listen(self) -> None:
        while True:
            said = await self._heard()
            try:
                command = parse(said, "the command", schema.ThreadCommand)
            except ServingError as error:
                await self._asked.put(error)
                continue
            name = new_id()
            if command.method == "subscription.subscribe":
                self._order.enter(name)
            await self._asked.put((name, command))

    async def _carry_out(self) -> None:
        while True:
            asked = await self._asked.get()
            if isinstance(asked, ServingError):
                answer = _error(None, "invalid_argument", asked)
            else:
                answer = await self._answer(*asked)
            await self._send(encode(answer))

    async def _answer(self, name: str, command: schema.ThreadCommand) -> schema.CommandAnswer:
        try:
            if command.method == "subscription.subscribe":
                return await self._subscribe(name, command)
            if command.method == "subscription.unsubscribe":
                return self._unsubscribe(command)
            if command.method == "subscription.reconnect":
                return await self._reconnect(command)
            carrying_out = Commands(self._service.runs, self._thread_id, self._owner)
            return await carrying_out.carry_out(command)
        except NotFoundError as error:
            return _error(command.id, "no_such_run", error)
        except ServingError as error:
            return _error(command.id, "invalid_argument", error)
        finally:
            if name not in self._following:
                self._order.leave(name)

    async def _subscribe(self, name: str, command: schema.ThreadCommand) -> schema.CommandAnswer:
        if len(self._following) >= _MOST:
            message = f"this connection already has {_MOST} subscriptions; unsubscribe one first"
            return _error(command.id, "not_supported", message)
        asked = parse(encode(command.params), "params", schema.ThreadEventsAsked)
        runs, thread_id, owner = self._service.runs, self._thread_id, self._owner
        numbers: deque[int] = deque()

        def frame(method: str, number: int, document: bytes) -> bytes:
            numbers.append(number)
            return document

        parts = await follow(runs, thread_id, owner, asked, self._ends, frame)
        self._order.advance(name, _watermark(parts) + 1)
        task = self._following[name] = self._watched(self._send_all(name, parts, numbers))
        task.add_done_callback(lambda _: self._order.leave(name))
        result: dict[str, Any] = {"subscription_id": name}
        return schema.CommandAnswer(type="success", id=command.id, result=result)

    def _unsubscribe(self, command: schema.ThreadCommand) -> schema.CommandAnswer:
        found = self._following.pop(str(command.params.get("subscription_id")), None)
        if found is None:
            return _error(command.id, "no_such_subscription", "no subscription has this id")
        found.cancel()
        return schema.CommandAnswer(type="success", id=command.id, result={})

    async def _reconnect(self, command: schema.ThreadCommand) -> schema.CommandAnswer:
        """Report whether subscriptions still exist; they end with their connection."""
        asked = parse(encode(command.params), "params", schema.Reconnect)
        run = await self._service.runs.get(asked.run_id, self._owner)
        if run.thread_id != self._thread_id:
            raise NotFoundError(f"there is no run {run.id} on this thread")
        there = bool(asked.subscriptions) and set(asked.subscriptions) <= self._following.keys()
        return schema.CommandAnswer(type="success", id=command.id, result={"restored": there})

    async def _send_all(
        self, name: str, parts: ThreadParts[RunFrames], numbers: deque[int]
    ) -> None:
        """Send a subscription's documents; ``numbers`` has the number of each one in ``parts``."""
        try:
            with contextlib.suppress(StopAsyncIteration):  # the thread was deleted
                while True:
                    for document in await parts.several():
                        await self._order.turn(name, numbers.popleft())
                        await self._send(document)
                    self._order.advance(name, _watermark(parts) + 1)
        finally:
            await parts.aclose()


def _watermark(parts: ThreadParts[RunFrames]) -> int:
    """All documents from now on have greater numbers than this."""
    return end_of(parts.turn) if parts.frames is None else parts.frames.watermark


def _error(command_id: int | None, code: str, message: object) -> schema.CommandAnswer:
    return schema.CommandAnswer(type="error", id=command_id, error=code, message=str(message))
