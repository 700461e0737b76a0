"""The callback handlers of our streams, and the routes of the calls that they watch.

Private names of LangGraph and LangChain that are used, each with a test:

- ``StreamMessagesHandler(stream, subgraphs)`` is LangGraph's ``messages`` mode: a callback handler
  that keeps ``metadata[run_id] = (namespace, metadata)`` of the calls and nodes it streams. It
  hands each message to ``_emit(metadata[run_id], message, dedupe=...)``, which drops those whose
  ids are in ``seen`` and gives the others to ``stream`` as ``(namespace, mode, payload)``.
- A run that starts outside of any task removes the handlers whose ``subgraphs`` is false from its
  callbacks, because they would be its caller's. After that the handler decides alone.
- LangChain awaits a handler's event if that is a coroutine function, and calls it if it is not.
  An exception leaves the handler if ``raise_error`` is set.
- A completion model (``BaseLLM``) calls ``on_llm_start`` where a chat model calls
  ``on_chat_model_start``, and sends ``GenerationChunk``, which ``messages`` mode drops.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import Any
from uuid import UUID, uuid4

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables.config import RunnableConfig, ensure_config

from tokenweir.streaming._langgraph.config_propagation import node_begins
from tokenweir.streaming.calls import Call, Calls
from tokenweir.streaming.completions import completion_chunk, completion_message
from tokenweir.streaming.flow_control import FlowControl, FlowControlled, current_flow_control
from tokenweir.streaming.route import CallbackRoute, FanOut, FlowRoute, Route, Shape, StreamRoute
from tokenweir.streaming.run_filter import RunFilter

try:
    from langgraph.pregel._messages import StreamMessagesHandler

    _MISSING: str | None = None
except ImportError as error:
    StreamMessagesHandler = BaseCallbackHandler  # type: ignore[assignment,misc]
    _MISSING = f"this LangGraph has other insides ({error})"
    logging.getLogger(__name__).warning("streams take LangGraph's own way: %s", error)

__all__ = [
    "FlowControlHandler",
    "MessagesHandler",
    "StepFlowControlHandler",
    "completions_handler",
    "route_of",
]

_NO_TOKENS = (BaseCallbackHandler.on_llm_new_token, AsyncCallbackHandler.on_llm_new_token)


class _CallHandler(FlowControlled, BaseCallbackHandler):
    """Counts the chunks of a run's calls, and holds each call at the flow control.

    LangChain looks ``on_llm_new_token`` up once per token, and awaits it if it is a coroutine
    function. In the reader's event loop it is one, so that a model call can wait there for the
    reader. In a worker thread it is a plain function that blocks.
    """

    raise_error = True
    run_inline = True

    def __init__(self, flow: FlowControl, calls: Calls) -> None:
        super().__init__()
        self.flow = flow
        self.calls = calls

    def take(self, token: Any, chunk: Any, run_id: UUID) -> None:
        """Receive one chunk of a call."""
        self.calls.arrived(run_id, token)

    def route(self, run_id: UUID, message_id: str) -> Route:
        """The route of a call whose messages have this id."""
        return FlowRoute(self.flow, self.calls.under_way(run_id))

    def call_starts(
        self, run_id: UUID, metadata: dict[str, Any] | None, tags: list[str] | None
    ) -> Call:
        """A call starts, in this thread."""
        current_flow_control.set(self.flow)
        return self.calls.started(run_id, metadata or {}, tags)

    def call_ends(self, run_id: UUID, error: BaseException | None) -> None:
        """A call ends."""
        current_flow_control.set(None)
        if error is None:
            self.calls.ended(run_id)
        else:
            self.calls.failed(run_id, error)

    @property
    def on_llm_new_token(self) -> Callable[..., Any]:
        return self._in_loop if get_ident() == self.flow.reader_thread else self._in_thread

    async def _in_loop(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        self.take(token, chunk, run_id)
        self.flow.record(1)
        await self.flow.wait()

    def _in_thread(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        self.take(token, chunk, run_id)
        self.flow.record(1)
        self.flow.wait_sync()


class MessagesHandler(_CallHandler, StreamMessagesHandler):
    """LangGraph's ``messages`` mode with three differences: it sends messages straight into our
    channel, it asks the filter once per call, and it can hold a call back.

    Which messages are streamed, under which ids and with which metadata, is LangGraph's own code.
    It keeps a ``StreamRoute`` where LangGraph keeps the namespace and metadata of a call or node.

    Args:
        shape: Makes the parts of the stream.
        flow: The stream's.
        calls: The run's.
        subgraphs: Whether to stream from subgraphs.
        only: Which messages pass.
    """

    def __init__(
        self,
        shape: Shape | None,
        flow: FlowControl,
        calls: Calls,
        *,
        subgraphs: bool,
        only: RunFilter | None,
    ) -> None:
        # Until the run has started, ``subgraphs`` must be true: see the module's docstring.
        StreamMessagesHandler.__init__(self, self._never, True)
        self.flow = flow
        self.calls = calls
        self._subgraphs = subgraphs
        self._shape = shape
        self._only = only

    @staticmethod
    def _never(part: Any) -> None:
        raise AssertionError("messages leave by _emit")

    def take(self, token: Any, chunk: Any, run_id: UUID) -> None:
        super().take(token, chunk, run_id)
        if isinstance(chunk, ChatGenerationChunk):
            # Not super(): the name is a property here.
            StreamMessagesHandler.on_llm_new_token(self, token, chunk=chunk, run_id=run_id)
        elif chunk is not None and (route := self._routes.get(run_id)):
            self._emit(route, completion_chunk(chunk, run_id))

    def _emit(self, meta: Any, message: BaseMessage, *, dedupe: bool = False) -> None:
        if dedupe and message.id in self.seen:
            return
        if message.id is None:
            message.id = str(uuid4())
        self.seen.add(message.id)
        meta.send(message)

    def route(self, run_id: UUID, message_id: str) -> Route:
        route = self._routes.get(run_id)
        if route is None:
            return super().route(run_id, message_id)
        route.mark_seen(message_id)
        route.write_texts(message_id)
        return route

    @property
    def _routes(self) -> dict[UUID, StreamRoute]:
        return self.metadata  # type: ignore[return-value]

    def _keep_route(self, run_id: UUID, call: Call | None) -> None:
        """Replace what LangGraph has kept of a call or node, if it streams it, by a route."""
        if (kept := self.metadata.get(run_id)) is not None:
            # A node rarely returns messages: its filter is asked when it does.
            self._routes[run_id] = StreamRoute(
                self.flow,
                call,
                *kept,
                shape=self._shape,
                only=self._only,
                by_message=call is None,
                seen=self.seen,
            )

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        call = self.call_starts(run_id, metadata, tags)
        super().on_chat_model_start(
            serialized, messages, run_id=run_id, tags=tags, metadata=metadata, **kwargs
        )
        self._keep_route(run_id, call)

    def on_llm_start(
        self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any
    ) -> Any:
        """A completion model is called: it is streamed as a chat model is."""
        self.on_chat_model_start(serialized, [], run_id=run_id, **kwargs)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> Any:
        self.call_ends(run_id, None)
        route = self._routes.get(run_id)
        if route is not None and (whole := completion_message(response, run_id)) is not None:
            self._emit(route, whole, dedupe=True)
        super().on_llm_end(response, run_id=run_id, **kwargs)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        self.call_ends(run_id, error)
        super().on_llm_error(error, run_id=run_id, **kwargs)

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: Any,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        self.subgraphs = self._subgraphs  # the run has started: this is the graph or a node
        node_begins(kwargs.get("name", ""), metadata)
        super().on_chain_start(serialized, inputs, run_id=run_id, metadata=metadata, **kwargs)
        self._keep_route(run_id, None)


class FlowControlHandler(_CallHandler):
    """Holds a run to its reader's pace whose parts do not come by a ``MessagesHandler``.

    The chunks of completion models, which LangGraph drops, go to ``completions`` instead.
    """

    def __init__(
        self, flow: FlowControl, calls: Calls, completions: MessagesHandler | None = None
    ) -> None:
        super().__init__(flow, calls)
        self._completions = completions

    async def _in_loop(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        if completions := self._carrying(run_id):
            await completions._in_loop(token, chunk=chunk, run_id=run_id)
        else:
            await super()._in_loop(token, chunk=chunk, run_id=run_id)

    def _in_thread(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        if completions := self._carrying(run_id):
            completions._in_thread(token, chunk=chunk, run_id=run_id)
        else:
            super()._in_thread(token, chunk=chunk, run_id=run_id)

    def _carrying(self, run_id: UUID) -> MessagesHandler | None:
        completions = self._completions
        return completions if completions and run_id in completions.metadata else None

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """A completion model is called."""
        self.call_starts(run_id, metadata, tags)
        if self._completions is not None:
            self._completions.on_llm_start(
                serialized, prompts, run_id=run_id, tags=tags, metadata=metadata
            )

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any
    ) -> Any:
        self.call_starts(run_id, kwargs.get("metadata"), kwargs.get("tags"))

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        node_begins(kwargs.get("name", ""), metadata)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> Any:
        self.call_ends(run_id, None)
        if completions := self._carrying(run_id):
            completions.on_llm_end(response, run_id=run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        self.call_ends(run_id, error)
        if self._completions is not None:
            self._completions.metadata.pop(run_id, None)


class StepFlowControlHandler(FlowControlHandler):
    """Holds nodes, too, before they start, because the parts of other modes are sent without
    waiting.

    Where a pump takes the parts from the graph, the graph makes no step while the pump waits.
    """

    @property
    def on_chain_start(self) -> Callable[..., Any]:
        in_loop = get_ident() == self.flow.reader_thread
        return self._step_in_loop if in_loop else self._step_in_thread

    async def _step_in_loop(self, *args: Any, **kwargs: Any) -> None:
        FlowControlHandler.on_chain_start(self, *args, **kwargs)
        self.flow.record(1)
        await self.flow.wait()

    def _step_in_thread(self, *args: Any, **kwargs: Any) -> None:
        FlowControlHandler.on_chain_start(self, *args, **kwargs)
        self.flow.record(1)
        self.flow.wait_sync()


def completions_handler(
    shape: Shape | None,
    flow: FlowControl,
    calls: Calls,
    *,
    subgraphs: bool,
    only: RunFilter | None,
    config: RunnableConfig | None,
) -> MessagesHandler | None:
    """What ``FlowControlHandler`` gives completions to; it is no handler of the run by itself.

    None where LangGraph has other insides: then completions do not come, as with LangGraph.
    """
    if _MISSING is not None:
        return None
    handler = MessagesHandler(shape, flow, calls, subgraphs=subgraphs, only=only)
    handler.subgraphs = subgraphs
    namespace = (ensure_config(config).get("configurable") or {}).get("checkpoint_ns")
    handler.parent_ns = tuple(namespace.split("|")) if namespace else None
    return handler


def route_of(
    handlers: Iterable[BaseCallbackHandler], run_id: UUID, message_id: str
) -> Route | None:
    """The route of a call, by the callback handlers of its run manager.

    Args:
        handlers: The run manager's.
        run_id: The call's.
        message_id: The id that all messages of the call have.

    Returns:
        None if there is a handler to which only LangChain can give the call's tokens.
    """
    routes: list[Route] = []
    for handler in handlers:
        route = _route_by(handler, run_id, message_id)
        if route is None:
            return None
        if type(route) is not Route:
            routes.append(route)
    return routes[0] if len(routes) == 1 else FanOut(routes) if routes else Route()


def _route_by(handler: Any, run_id: UUID, message_id: str) -> Route | None:
    """The route of a call to one handler; None if only LangChain can give it the tokens."""
    if isinstance(handler, _CallHandler):
        return handler.route(run_id, message_id)
    if (receiver := getattr(handler, "receiver", None)) is not None:
        send = receiver(run_id)  # a handler of ours that takes messages as they are
        return Route() if send is None else CallbackRoute(send)
    if handler.ignore_llm or _takes_no_tokens(handler):
        return Route()
    if _MISSING is not None or type(handler) is not StreamMessagesHandler:
        return None
    if not (meta := handler.metadata.get(run_id)):
        return Route()
    handler.seen.add(message_id)
    stream, (namespace, metadata) = handler.stream, meta
    return CallbackRoute(
        lambda message: stream((namespace, "messages", (message, metadata))), handler.seen
    )


def _takes_no_tokens(handler: Any) -> bool:
    return getattr(
        type(handler), "on_llm_new_token", None
    ) in _NO_TOKENS and "on_llm_new_token" not in vars(handler)
