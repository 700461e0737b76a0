"""All contact of this room with private names of LangGraph and LangChain.

What is assumed of them, each with a test:

- ``StreamMessagesHandler(stream, subgraphs)`` is LangGraph's ``messages`` mode: a callback handler
  that keeps ``metadata[run_id] = (namespace, metadata)`` of the calls it streams, and hands each
  message to ``_emit(meta, message, dedupe=...)``, which drops those in ``seen``.
- A run strips handlers whose ``subgraphs`` is false when it starts outside of any task, because
  they would be its caller's; after that the handler alone decides what it takes.
- LangChain awaits a handler's event if that is a coroutine function, and calls it if it is not;
  an exception leaves the handler if ``raise_error`` is set.
- A completion model (``BaseLLM``) calls ``on_llm_start``, where a chat model calls
  ``on_chat_model_start``, and hands on ``GenerationChunk``, which ``messages`` mode drops.
- Where a graph is being run from within another graph's node, the config in the context variable
  holds ``CONFIG_KEY_TASK_ID``.
- A graph that is run with ``CONFIG_KEY_STREAM`` in its config, as a subgraph is, hands what its
  other modes have to say to that ``StreamProtocol`` as ``(namespace, mode, payload)``, at once, and
  takes the stream writer of the ``Runtime`` under ``CONFIG_KEY_RUNTIME`` for its own.

Where an assumption does not hold, ``direct_reason`` says so and streams take LangGraph's own way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import get_ident
from typing import Any, Literal
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables.config import RunnableConfig, ensure_config

from tokenweir.streaming._langgraph.config_propagation import node_begins
from tokenweir.streaming.backpressure import Gate, Watching, current_gate
from tokenweir.streaming.calls import Calls
from tokenweir.streaming.completions import completion_chunk, completion_message
from tokenweir.streaming.filters import Filter
from tokenweir.types import Metadata, Namespace, Token

try:
    from langgraph.pregel._messages import StreamMessagesHandler

    _MISSING: str | None = None
except ImportError as error:  # a LangGraph that moved its rooms
    StreamMessagesHandler = BaseCallbackHandler  # type: ignore[assignment,misc]
    _MISSING = f"this LangGraph has other insides ({error})"
    logging.getLogger(__name__).warning("streams take LangGraph's own way: %s", error)

__all__ = [
    "GateHandler",
    "MessagesHandler",
    "StepGateHandler",
    "completions_handler",
    "langgraphs_receiver",
]


class _Watcher(Watching):
    """What both handlers do: count the calls' chunks, and hold each call at the gate.

    ``on_llm_new_token`` is looked up by LangChain once per token, and awaited if it is a coroutine
    function. In the event loop it is one, so that a model call can wait there for the reader; in a
    worker thread it is a plain function that blocks.
    """

    gate: Gate
    calls: Calls
    raise_error = True
    run_inline = True

    def take(self, token: Any, chunk: Any, run_id: UUID) -> None:
        """Receive one chunk of a call."""
        raise NotImplementedError

    def begin(self, run_id: UUID, metadata: dict[str, Any] | None, tags: list[str] | None) -> None:
        """A call begins, in this thread."""
        self.calls.started(run_id, metadata or {}, tags)
        current_gate.set(self.gate)

    def end(self, run_id: UUID, error: BaseException | None) -> None:
        """A call ends."""
        current_gate.set(None)
        if error is None:
            self.calls.ended(run_id)
        else:
            self.calls.failed(run_id, error)

    @property
    def on_llm_new_token(self) -> Callable[..., Any]:
        return self._in_loop if get_ident() == self.gate.thread else self._in_thread

    async def _in_loop(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        self.take(token, chunk, run_id)
        await self.gate.admit()

    def _in_thread(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        self.take(token, chunk, run_id)
        self.gate.admit_sync()


class _Rejected(tuple[Namespace, Metadata]):
    """The mark of a call that does not pass the filter, in the place of its metadata."""

    __slots__ = ()


class _ByChunk(tuple[Namespace, Metadata]):
    """The metadata of a call or a node of which the filter must see each message."""

    __slots__ = ()


class MessagesHandler(_Watcher, StreamMessagesHandler):
    """LangGraph's ``messages`` mode with three differences: it puts chunks straight into a sink,
    it decides the filter once per call, and it can hold a call back.

    Which messages are streamed, under which ids and with which metadata, is LangGraph's own code.
    """

    def __init__(
        self,
        emit: Callable[[Namespace, Token], None],
        gate: Gate,
        calls: Calls,
        *,
        subgraphs: bool,
        only: Filter | None,
    ) -> None:
        # Until the run has started it must look like its caller's, see the module's docstring.
        super().__init__(self._never, True)
        self._wanted_subgraphs = subgraphs
        self._emit_token = emit
        self._only = only
        self.gate = gate
        self.calls = calls

    @staticmethod
    def _never(part: Any) -> None:
        raise AssertionError("chunks leave by _emit")

    def take(self, token: Any, chunk: Any, run_id: UUID) -> None:
        self.calls.arrived(run_id, token)
        if isinstance(chunk, ChatGenerationChunk):
            # Not super(): the name is a property here.
            StreamMessagesHandler.on_llm_new_token(self, token, chunk=chunk, run_id=run_id)
        elif chunk is not None and (meta := self.metadata.get(run_id)):
            self._emit(meta, completion_chunk(chunk, run_id))

    def _emit(self, meta: Any, message: BaseMessage, *, dedupe: bool = False) -> None:
        if dedupe and message.id in self.seen:
            return
        if message.id is None:
            message.id = str(uuid4())
        self.seen.add(message.id)
        kind = type(meta)
        if kind is _Rejected:
            return
        if kind is _ByChunk and self._only is not None and not self._only(meta[1], message):
            return
        self._emit_token(meta[0], (message, meta[1]))

    def receiver(self, run_id: UUID, message_id: str) -> Callable[[BaseMessage], None] | None:
        """What takes the messages of one call at once; None if none of them pass.

        For models that know their handlers and need no dispatch per chunk. The messages' id is
        ``message_id``.
        """
        meta = self.metadata.get(run_id)
        if meta is None:
            return None
        self.seen.add(message_id)
        if type(meta) is _Rejected:
            return None
        namespace, metadata = meta
        emit, only = self._emit_token, self._only
        if type(meta) is not _ByChunk or only is None:
            return lambda message: emit(namespace, (message, metadata))

        def emit_passing(message: BaseMessage) -> None:
            if only(metadata, message):
                emit(namespace, (message, metadata))

        return emit_passing

    def texts(self, run_id: UUID, message_id: str) -> Callable[[str], bool] | None:
        """What takes texts of one call as they are; None if it must be given messages."""
        meta = self.metadata.get(run_id)
        texts = self.gate.sink.texts
        if texts is None or meta is None or type(meta) in (_Rejected, _ByChunk):
            return None
        return texts(*meta, message_id)

    def _decide(self, run_id: UUID) -> None:
        if self._only is None:
            return
        meta = self.metadata.get(run_id)
        if meta is None:
            return
        decided = self._only.decide(meta[1])
        if decided is None:
            self.metadata[run_id] = _ByChunk(meta)
        elif not decided:
            self.metadata[run_id] = _Rejected(meta)

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
        self.begin(run_id, metadata, tags)
        super().on_chat_model_start(
            serialized, messages, run_id=run_id, tags=tags, metadata=metadata, **kwargs
        )
        self._decide(run_id)

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
        """A completion model is called: to be streamed as a chat model is."""
        self.on_chat_model_start(
            serialized, [], run_id=run_id, tags=tags, metadata=metadata, **kwargs
        )

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> Any:
        self.end(run_id, None)
        meta = self.metadata.get(run_id)
        if meta is not None and (whole := completion_message(response, run_id)) is not None:
            self._emit(meta, whole, dedupe=True)
        super().on_llm_end(response, run_id=run_id, **kwargs)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        self.end(run_id, error)
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
        if self.subgraphs is not self._wanted_subgraphs:
            self.subgraphs = self._wanted_subgraphs  # the run has started: this is the graph
        node_begins(kwargs.get("name", ""), metadata)
        super().on_chain_start(serialized, inputs, run_id=run_id, metadata=metadata, **kwargs)
        # Few nodes write messages themselves: the filter is asked when one does.
        if self._only is not None and (meta := self.metadata.get(run_id)) is not None:
            self.metadata[run_id] = _ByChunk(meta)


class GateHandler(_Watcher, BaseCallbackHandler):
    """Watches a run whose chunks travel LangGraph's own way, to hold it to its reader's pace.

    Those of completion models, which LangGraph would drop, go to ``completions`` instead.
    """

    def __init__(
        self, gate: Gate, calls: Calls, completions: MessagesHandler | None = None
    ) -> None:
        super().__init__()
        self.gate = gate
        self.calls = calls
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
        self.begin(run_id, metadata, tags)
        if self._completions is not None:
            self._completions.on_llm_start(
                serialized, prompts, run_id=run_id, tags=tags, metadata=metadata
            )

    def take(self, token: Any, chunk: Any, run_id: UUID) -> None:
        self.calls.arrived(run_id, token)

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
        self.begin(run_id, metadata, tags)

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: Any,
        *,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        node_begins(kwargs.get("name", ""), metadata)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> Any:
        self.end(run_id, None)
        if completions := self._carrying(run_id):
            completions.on_llm_end(response, run_id=run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Any:
        self.end(run_id, error)
        if self._completions is not None:
            self._completions.metadata.pop(run_id, None)


class StepGateHandler(GateHandler):
    """Holds nodes, too, before they start: the other modes' parts are put without waiting.

    Where a pump takes them from the graph, the graph makes no step while the pump waits.
    """

    @property
    def on_chain_start(self) -> Callable[..., Any]:
        return self._in_loop_step if get_ident() == self.gate.thread else self._in_thread_step

    async def _in_loop_step(self, *args: Any, **kwargs: Any) -> None:
        GateHandler.on_chain_start(self, *args, **kwargs)
        await self.gate.admit()

    def _in_thread_step(self, *args: Any, **kwargs: Any) -> None:
        GateHandler.on_chain_start(self, *args, **kwargs)
        self.gate.admit_sync()


def completions_handler(
    emit: Callable[[Namespace, Token], None],
    gate: Gate,
    calls: Calls,
    *,
    subgraphs: bool,
    only: Filter | None,
    config: RunnableConfig | None,
) -> MessagesHandler | None:
    """What ``GateHandler`` gives completions to; no handler of the run by itself.

    None with a LangGraph of other insides: then completions do not come, as LangGraph has it.
    """
    if _MISSING is not None:
        return None
    handler = MessagesHandler(emit, gate, calls, subgraphs=subgraphs, only=only)
    handler.subgraphs = subgraphs
    namespace = (ensure_config(config).get("configurable") or {}).get("checkpoint_ns")
    handler.parent_ns = tuple(namespace.split("|")) if namespace else None
    return handler


def langgraphs_receiver(
    handler: Any, run_id: UUID, message_id: str
) -> Callable[[BaseMessage], None] | Literal[False] | None:
    """As ``MessagesHandler.receiver`` for LangGraph's own handler; False if it is another's."""
    if _MISSING is not None or type(handler) is not StreamMessagesHandler:
        return False
    meta = handler.metadata.get(run_id)
    if not meta:
        return None
    handler.seen.add(message_id)
    namespace, metadata = meta
    stream = handler.stream
    return lambda message: stream((namespace, "messages", (message, metadata)))
