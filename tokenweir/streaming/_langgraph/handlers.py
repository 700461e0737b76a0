"""The callback handlers with which a stream watches and slows down the model calls of its run.

This module uses only public names of LangChain and LangGraph; ``messages.py`` has the handler that
needs private ones.

- LangChain awaits a handler's event if that is a coroutine function, and calls it if it is not.
  An exception leaves the handler if ``raise_error`` is set.
- A completion model (``BaseLLM``) calls ``on_llm_start`` where a chat model calls
  ``on_chat_model_start``, and sends ``GenerationChunk``, which ``messages`` mode drops.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.runnables.config import RunnableConfig, ensure_config
from langgraph.constants import TAG_NOSTREAM

from tokenweir.streaming._langgraph.config_propagation import node_begins
from tokenweir.streaming.calls import Call, Calls
from tokenweir.streaming.completions import completion_chunk, completion_message
from tokenweir.streaming.flow_control import FlowControl, FlowControlled, current_flow_control
from tokenweir.streaming.route import FlowRoute, Route, Shape, StreamRoute
from tokenweir.streaming.run_filter import RunFilter
from tokenweir.types import Metadata, Namespace

__all__ = [
    "CallHandler",
    "CompletionRoutes",
    "FlowControlHandler",
    "StepFlowControlHandler",
    "watched",
]


def watched(config: RunnableConfig | None, handler: BaseCallbackHandler) -> RunnableConfig:
    """The config with ``handler`` put last among its callbacks.

    LangGraph merges in the callbacks bound to the graph, and those of an enclosing run.
    """
    callbacks: Any = (config or {}).get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        callbacks = callbacks.copy()
        callbacks.add_handler(handler, inherit=True)
    else:
        callbacks = [*(callbacks or ()), handler]
    merged: RunnableConfig = {**config} if config else {}
    merged["callbacks"] = callbacks
    return merged


class CallHandler(FlowControlled, BaseCallbackHandler):
    """Counts the chunks of a run's calls, and applies the flow control to each call.

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

    def take(self, token: Any, chunk: Any, run_id: UUID) -> FlowControl | Route:
        """Receive one chunk of a call; return the flow control or route that may delay the call."""
        self.calls.arrived(run_id, token)
        return self.flow

    def route(self, run_id: UUID, message_id: str) -> Route:
        """The route of a call whose messages have this id."""
        return FlowRoute(self.flow, self.calls.under_way(run_id))

    def call_starts(
        self, run_id: UUID, metadata: dict[str, Any] | None, tags: list[str] | None
    ) -> Call:
        """Called when a call starts, in the call's thread."""
        current_flow_control.set(self.flow)
        return self.calls.started(run_id, metadata or {}, tags)

    def call_ends(self, run_id: UUID, error: BaseException | None) -> None:
        """Called when a call ends."""
        current_flow_control.set(None)
        if error is None:
            self.calls.ended(run_id)
        else:
            self.calls.failed(run_id, error)

    @property
    def on_llm_new_token(self) -> Callable[..., Any]:
        return self._in_loop if get_ident() == self.flow.reader_thread else self._in_thread

    async def _in_loop(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        holds = self.take(token, chunk, run_id)
        holds.record(1)
        await holds.wait()

    def _in_thread(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        holds = self.take(token, chunk, run_id)
        holds.record(1)
        holds.wait_sync()


class CompletionRoutes(dict[UUID, StreamRoute]):
    """The routes of a run's completions, if the other parts come through the graph's own stream.

    Args:
        shape: Makes the parts of the stream.
        flow: The flow control of the channel into which the completions go.
        subgraphs: Whether to stream from subgraphs.
        only: Which messages pass.
        config: The run's config; in a node of another graph it has the namespace of that node.
    """

    def __init__(
        self,
        shape: Shape | None,
        flow: FlowControl,
        *,
        subgraphs: bool,
        only: RunFilter | None,
        config: RunnableConfig | None,
    ) -> None:
        super().__init__()
        place = (ensure_config(config).get("configurable") or {}).get("checkpoint_ns")
        self._own = ((), tuple(place.split("|")) if place else ())
        self._subgraphs = subgraphs
        self._shape = shape
        self._flow = flow
        self._only = only

    def open(self, run_id: UUID, call: Call, metadata: Metadata, tags: list[str]) -> None:
        """Called when a completion model starts: keep its route, if the call is streamed."""
        if not self.streams(metadata, tags):
            return
        if shown := [tag for tag in tags if not tag.startswith("seq:step")]:
            metadata["tags"] = shown
        self[run_id] = StreamRoute(
            self._flow,
            call,
            _graph_namespace(metadata),
            metadata,
            shape=self._shape,
            only=self._only,
            by_message=False,
            seen=set(),
        )

    def streams(self, metadata: Metadata, tags: list[str]) -> bool:
        """Whether a model call is streamed. If not, the filter notes a call in a subgraph."""
        if TAG_NOSTREAM in tags:
            return False
        heard = self._subgraphs or _graph_namespace(metadata) in self._own
        if not heard and self._only is not None:
            self._only.not_streamed({**metadata, "tags": tags})
        return heard


def _graph_namespace(metadata: Metadata) -> Namespace:
    """The namespace of the graph in which a call is made, from the call's metadata.

    The last segment is the node's. A ``@task`` has its own segment, and its ``langgraph_path``
    holds its caller's.
    """
    parts = 1
    path = metadata.get("langgraph_path", ())
    while len(path) == 4 and path[-1] is True:
        parts += 1
        path = path[1]
    return tuple(metadata.get("langgraph_checkpoint_ns", "").split("|")[:-parts])


class FlowControlHandler(CallHandler):
    """Slows a run down to its reader's pace if its parts do not come from a ``MessagesHandler``.

    ``completions`` carries the chunks of completion models, which LangGraph drops.
    """

    def __init__(
        self, flow: FlowControl, calls: Calls, completions: CompletionRoutes | None = None
    ) -> None:
        super().__init__(flow, calls)
        self._completions = completions
        self._streamed: set[UUID] = set()

    def take(self, token: Any, chunk: Any, run_id: UUID) -> FlowControl | Route:
        flow = super().take(token, chunk, run_id)
        if not self._completions or (route := self._completions.get(run_id)) is None:
            return flow
        if chunk is not None:
            self._streamed.add(run_id)
            route.send(completion_chunk(chunk, run_id))
        return route

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
        call = self.call_starts(run_id, metadata, tags)
        if self._completions is not None and metadata:
            self._completions.open(run_id, call, metadata, tags or [])

    def on_chat_model_start(
        self,
        serialized: Any,
        messages: Any,
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """A chat model is called."""
        self.call_starts(run_id, metadata, tags)
        if self._completions is not None and metadata:
            self._completions.streams(metadata, tags or [])

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
        if self._completions and (route := self._completions.pop(run_id, None)) is not None:
            whole = completion_message(response, run_id)
            if whole is not None and run_id not in self._streamed:
                route.send(whole)
            self._streamed.discard(run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        self.call_ends(run_id, error)
        if self._completions:
            self._completions.pop(run_id, None)


class StepFlowControlHandler(FlowControlHandler):
    """Also delays nodes before they start, because the parts of other modes are sent without
    waiting.

    With a pump this is not needed: the graph makes no step while the pump waits.
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
