"""LangGraph's ``messages`` mode, taken straight from its callback handler.

Uses the following of ``langgraph.pregel._messages.StreamMessagesHandler(stream, subgraphs)``,
besides the events of a callback handler:

- ``metadata[run_id]`` is ``(namespace, metadata)`` of each call and node that it streams;
- ``_emit(metadata[run_id], message, dedupe=...)`` is called with each message. It drops those whose
  ids are in ``seen``, and gives the others to ``stream`` as ``(namespace, "messages", payload)``;
- a run that starts outside of any task removes the handlers whose ``subgraphs`` is false from its
  callbacks, because they belong to its caller. After that, only the handler itself decides.

``probe.py`` checks all of this before the first use.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langgraph.constants import TAG_NOSTREAM

from tokenweir.streaming._langgraph.config_propagation import node_begins
from tokenweir.streaming._langgraph.handlers import CallHandler
from tokenweir.streaming.calls import Call, Calls
from tokenweir.streaming.completions import completion_chunk, completion_message
from tokenweir.streaming.flow_control import FlowControl
from tokenweir.streaming.route import CallbackRoute, Route, Shape, StreamRoute
from tokenweir.streaming.run_filter import RunFilter
from tokenweir.types import Metadata, Namespace

_MISSING: str | None = None
try:
    from langgraph.pregel._messages import StreamMessagesHandler
except ImportError as error:  # probe() fails, so none of this is used
    _MISSING = str(error)
    StreamMessagesHandler = BaseCallbackHandler  # type: ignore[assignment,misc]

__all__ = ["MessagesHandler", "langgraph_route", "missing_names"]


def missing_names() -> list[str]:
    """The names used here that LangGraph's handler does not have."""
    if _MISSING is not None:
        return [_MISSING]
    handler = StreamMessagesHandler(print, False)
    used = ("_emit", "metadata", "seen", "stream", "subgraphs")
    return [name for name in used if not hasattr(handler, name)]


class MessagesHandler(CallHandler, StreamMessagesHandler):
    """LangGraph's ``messages`` mode with three differences: it sends messages straight into the
    stream's channel, it asks the filter once per call, and it can make a call wait.

    LangGraph's own code decides which messages are streamed, with which ids and metadata. This
    class stores a ``StreamRoute`` where LangGraph stores the namespace and metadata of a call or
    node.

    Args:
        shape: Makes the parts of the stream.
        flow: The flow control of the stream.
        calls: The model calls of the run.
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
        # Until the run has started, ``subgraphs`` must be true: from the callbacks of a run that
        # starts outside of any task, LangGraph strips handlers without it as its caller's.
        StreamMessagesHandler.__init__(self, self._never, True)
        self.flow = flow
        self.calls = calls
        self._subgraphs = subgraphs
        self._shape = shape
        self._only = only

    @staticmethod
    def _never(part: Any) -> None:
        raise AssertionError("messages leave by _emit")

    def take(self, token: Any, chunk: Any, run_id: UUID) -> FlowControl | Route:
        flow = super().take(token, chunk, run_id)
        if isinstance(chunk, ChatGenerationChunk):
            # Not super(): the name is a property here.
            StreamMessagesHandler.on_llm_new_token(self, token, chunk=chunk, run_id=run_id)
        elif chunk is not None and (route := self._routes.get(run_id)):
            self._emit(route, completion_chunk(chunk, run_id))
        return flow

    def _emit(self, meta: Any, message: BaseMessage, *, dedupe: bool = False) -> None:
        if dedupe and message.id in self.seen:
            return
        if message.id is None:
            message.id = str(uuid4())
        self.seen.add(message.id)
        if not isinstance(meta, StreamRoute):  # from push_message in a node
            meta = self._new_route(None, *meta)
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
        """Replace LangGraph's entry for a call or node, if there is one, by a route."""
        if (kept := self.metadata.get(run_id)) is not None:
            self._routes[run_id] = self._new_route(call, *kept)

    def _new_route(
        self, call: Call | None, namespace: Namespace, metadata: Metadata
    ) -> StreamRoute:
        return StreamRoute(
            self.flow,
            call,
            namespace,
            metadata,
            shape=self._shape,
            only=self._only,
            # A node rarely returns messages, so its filter is only asked when it does.
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
        if self._only is None or run_id in self.metadata or TAG_NOSTREAM in (tags or ()):
            return
        if metadata:
            self._only.not_streamed({**metadata, "tags": tags})

    def on_llm_start(
        self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any
    ) -> Any:
        """A completion model is called: stream it like a chat model."""
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


def langgraph_route(handler: Any, run_id: UUID, message_id: str) -> Route | None:
    """The route of a call to LangGraph's own handler, which serves ``graph.astream``.

    None for any other handler, which only LangChain can give the call's tokens.
    """
    if type(handler) is not StreamMessagesHandler:
        return None
    if not (meta := handler.metadata.get(run_id)):
        return Route()
    handler.seen.add(message_id)
    stream, (namespace, metadata) = handler.stream, meta
    return CallbackRoute(
        lambda message: stream((namespace, "messages", (message, metadata))), handler.seen
    )
