"""Runs a graph and fills the channel of its stream.

There are two ways, which give the same parts in the same order:

- Direct: a callback handler sends the tokens of a local graph's model calls into the channel. The
  parts of other modes are sent where the graph makes them.
- Pumped: the parts come through the graph's own stream, and a pump filters them and moves them into
  the channel. This is used for one mode that is not in a list, for a remote graph, and for a graph
  inside a node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from typing import Any

from langchain_core.runnables import RunnableConfig

from tokenweir.streaming._langgraph import handlers, run_config
from tokenweir.streaming._langgraph.config_propagation import name_the_fix
from tokenweir.streaming._langgraph.keeping import keep, to_its_end
from tokenweir.streaming._langgraph.messages import MessagesHandler
from tokenweir.streaming._langgraph.probe import probe
from tokenweir.streaming._langgraph.retracting import (
    PumpedRetractingHandler,
    RetractingHandler,
)
from tokenweir.streaming._langgraph.tools import ToolsHandler, tools_known
from tokenweir.streaming.any_stream import ReadyIterator, close_stream
from tokenweir.streaming.calls import Calls
from tokenweir.streaming.channel import ReceiveChannel, SendChannel
from tokenweir.streaming.flow_control import FlowControl, PumpedFlowControl
from tokenweir.streaming.noted_channel import NotedChannel
from tokenweir.streaming.retractions import Opened, Retractions
from tokenweir.streaming.route import Shape
from tokenweir.streaming.run_filter import RunFilter
from tokenweir.streaming.shown import Shown
from tokenweir.types import Namespace

__all__ = ["Plan", "run"]

_DIRECT = frozenset({"messages", "values", "updates", "custom", "debug", "tasks", "checkpoints"})
"""The modes whose parts can be sent without LangGraph's queue."""

if tools_known:
    _DIRECT |= {"tools"}


@dataclass(frozen=True)
class Plan:
    """How to stream one run: the graph's arguments, and how to shape and filter its parts."""

    graph: Any
    input: Any
    config: RunnableConfig | None
    only: RunFilter | None
    stream_mode: str | Sequence[str] | None
    subgraphs: bool
    version: str
    kwargs: dict[str, Any]
    retract: bool = True
    shown: Shown | None = None
    """The messages that the reader was given, if a stopped run is to keep them."""

    @property
    def modes(self) -> list[str]:
        """The names of the stream modes."""
        if self.stream_mode is None or isinstance(self.stream_mode, str):
            return [self.stream_mode or ""]
        return list(self.stream_mode)

    @property
    def named(self) -> bool:
        """Whether parts carry the name of their mode, because the modes were given as a list."""
        return self.stream_mode is not None and not isinstance(self.stream_mode, str)

    def warn_of_filter(self, stacklevel: int) -> None:
        """At the end of the run, warn if no model call passed the filter."""
        if self.only is not None:
            self.only.warn(stacklevel + 1)

    def direct(self, method: str = "astream") -> bool:
        """Whether all parts can be sent where they are made, without a pump."""
        modes = self.modes
        if modes == ["messages"]:
            versions: tuple[str, ...] = ("v1", "v2")
        elif method == "astream" and self.named and modes and set(modes) <= _DIRECT:
            versions = ("v1",)
        else:
            return False
        return (
            run_config.is_local(self.graph)
            and self.version in versions
            and probe() is None
            and not run_config.in_namespace(self.config)
        )

    def start(self, method: str, channel: SendChannel[Any], reader_thread: int | None) -> _Started:
        """Call ``graph.stream`` or ``graph.astream`` so that the parts end up in the channel."""
        if self.direct(method):
            return self._start_direct(method, channel, reader_thread)
        calls = Calls()
        flow = PumpedFlowControl(channel, reader_thread)
        config = self.config
        retractions = None
        if run_config.is_local(self.graph):
            handler = handlers.FlowControlHandler(flow, calls)
            if "messages" in self.modes:
                shape = self._shape("messages")
                completions = handlers.CompletionRoutes(
                    shape,
                    FlowControl(channel, reader_thread),
                    subgraphs=self.subgraphs,
                    only=self.only,
                    config=config,
                )
                if self.retract:
                    retractions = Retractions(shape)
                    handler = PumpedRetractingHandler(flow, calls, completions, retractions)
                else:
                    handler = handlers.FlowControlHandler(flow, calls, completions)
            config = handlers.watched(config, handler)
            if probe() is None:
                config = run_config.with_node_writers(self.graph, config)
        parts = self._call(method, config, stream_mode=self.stream_mode, subgraphs=self.subgraphs)
        return _Started(parts, calls, _Pump(self, flow, retractions))

    def _start_direct(
        self, method: str, channel: SendChannel[Any], reader_thread: int | None
    ) -> _Started:
        calls = Calls()
        flow = FlowControl(channel, reader_thread)
        handler: Any
        if "messages" in self.modes:
            kind = RetractingHandler if self.retract else MessagesHandler
            handler = kind(
                self._shape("messages"), flow, calls, subgraphs=self.subgraphs, only=self.only
            )
        else:
            handler = handlers.StepFlowControlHandler(flow, calls)
        config = handlers.watched(self.config, handler)
        if self.subgraphs or self.modes != ["messages"]:
            send = self._part_sender(channel)
            if "tools" in self.modes:
                more = ToolsHandler(send, subgraphs=self.subgraphs)
                config = handlers.watched(config, more)
            config = run_config.emitting(
                self.graph, config, send, self.modes, subgraphs=self.subgraphs
            )
        return _Started(self._call(method, config, stream_mode=[]), calls)

    def _call(self, method: str, config: RunnableConfig | None, **kwargs: Any) -> Any:
        if self.version != "v1":
            kwargs["version"] = self.version
        return getattr(self.graph, method)(self.input, config, **kwargs, **self.kwargs)

    def _shape(self, mode: str) -> Shape | None:
        """Makes LangGraph's part from a payload; None if the payload is the part."""
        if self.version == "v2":
            return lambda namespace, payload: {"type": mode, "ns": namespace, "data": payload}
        if self.named:
            if self.subgraphs:
                return lambda namespace, payload: (namespace, mode, payload)
            return lambda namespace, payload: (mode, payload)
        return (lambda namespace, payload: (namespace, payload)) if self.subgraphs else None

    def _part_sender(self, channel: SendChannel[Any]) -> Callable[[Namespace, str, Any], None]:
        """Sends the parts that do not come from local model calls."""
        shapes = {mode: self._shape(mode) for mode in self.modes}

        def send(namespace: Namespace, mode: str, payload: Any) -> None:
            shape = shapes[mode]
            if self.only is None or self.passes((namespace, mode, payload)):
                channel.send_nowait(payload if shape is None else shape(namespace, payload))

        return send

    def opened(self, part: Any) -> Opened:
        """The namespace, mode and payload of a part."""
        if self.version == "v2":
            return part.get("ns", ()), part.get("type"), part.get("data")
        namespace = part[0] if self.subgraphs else ()
        mode = part[-2] if self.named else self.modes[0]
        return namespace, mode, part[-1] if self.named or self.subgraphs else part

    @property
    def reader(self) -> Callable[[Any], ReceiveChannel[Any]]:
        """Makes the reader's side of the channel."""
        shown = self.shown
        if shown is None:
            return ReceiveChannel

        def note(part: Any) -> None:
            _, mode, payload = self.opened(part)
            if mode == "messages":
                shown.take(*payload)

        return partial(NotedChannel, note=note)

    async def settle(self, *, blocking: bool) -> None:
        """After a stop: if asked to, put the messages that the reader was given into the state."""
        if self.shown is None:
            return
        work = keep(self.graph, self.config, self.shown, blocking=blocking)
        await (work if blocking else to_its_end(work))

    def passes(self, opened: Opened) -> bool:
        """Whether a part passes the filter. Parts that are not tokens always pass."""
        if self.only is None:
            return True
        _, mode, payload = opened
        if mode not in ("messages", "custom") or not isinstance(payload, (tuple, list)):
            return True
        if len(payload) != 2 or not isinstance(payload[1], dict):
            return True
        metadata = payload[1]
        if mode == "custom" and "tags" not in metadata and "langgraph_node" not in metadata:
            return True
        return self.only(metadata, payload[0])


@dataclass(frozen=True)
class _Started:
    """A started run: its parts, its calls, and a pump if its parts need one."""

    parts: Any
    calls: Calls
    pump: _Pump | None = None


class _Pump:
    """Moves the parts of a run from the graph's own stream into the channel."""

    def __init__(
        self, plan: Plan, flow: PumpedFlowControl, retractions: Retractions | None
    ) -> None:
        self._plan = plan
        self._flow = flow
        self._retractions = retractions

    async def take(self, part: Any, *, blocking: bool) -> None:
        """Send a part unless it is filtered or void, and wait while the channel is full."""
        if self._retractions is None:
            if self._plan.only is None or self._plan.passes(self._plan.opened(part)):
                await self._flow.pump(part, blocking=blocking)
            return
        await self.retract(blocking=blocking)
        opened = self._plan.opened(part)
        if self._plan.passes(opened) and self._retractions.takes(opened):
            await self._flow.pump(part, blocking=blocking)

    async def retract(self, *, blocking: bool) -> None:
        """Send the retractions of messages that were shown and have become void."""
        if self._retractions is not None:
            for part in self._retractions.due():
                await self._flow.pump(part, blocking=blocking)


async def run(plan: Plan, channel: SendChannel[Any], *, blocking: bool = False) -> None:
    """Run the graph to its end, and end the channel with the run's outcome.

    Args:
        plan: How to stream the run.
        channel: Where its parts go.
        blocking: Run ``graph.stream`` and block instead of awaiting, for ``complete`` in a thread.
            The thread is not joined, so every error is raised at the reader.
    """
    calls = Calls()
    method, reader_thread = ("stream", None) if blocking else ("astream", get_ident())
    try:
        started = plan.start(method, channel, reader_thread)
        calls, pump = started.calls, started.pump
        try:
            async for part in ReadyIterator(started.parts) if blocking else started.parts:
                if pump is not None:
                    await pump.take(part, blocking=blocking)
            if pump is not None:
                await pump.retract(blocking=blocking)
        finally:
            await close_stream(started.parts)
    except BaseException as error:
        if isinstance(error, Exception):
            name_the_fix(error)
        channel.end(calls.explained(error))
        if channel.closed or not isinstance(error, Exception):
            await plan.settle(blocking=blocking)
        if not blocking and not isinstance(error, Exception):
            raise
    else:
        channel.end()
