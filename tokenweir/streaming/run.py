"""How one run fills its sink.

The tokens of a local graph are taken straight from the model calls, by a callback handler that
puts chunks into the sink, and what other modes have to say from where the graph says it. Every
other stream (of one mode without a list, of a remote graph, of a graph inside a node) is
LangGraph's own, pumped into the sink and filtered on the way. Both give the same parts in the same
order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from threading import get_ident
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig

from tokenweir.streaming._langgraph import handlers, run_config
from tokenweir.streaming._langgraph.config_propagation import name_the_fix
from tokenweir.streaming.backpressure import Gate, PumpGate
from tokenweir.streaming.calls import Calls
from tokenweir.streaming.channel import Sink
from tokenweir.streaming.filters import Filter
from tokenweir.types import Namespace, Token

__all__ = ["Plan", "Source", "run", "run_sync"]

_DIRECT = frozenset({"messages", "values", "updates", "custom", "debug", "tasks", "checkpoints"})
"""The modes whose parts need not go through LangGraph's queue."""


@dataclass(frozen=True)
class Plan:
    """How one run is streamed: what to ask of the graph, and how to shape and filter its parts."""

    graph: Any
    input: Any
    config: RunnableConfig | None
    only: Filter | None
    stream_mode: str | Sequence[str] | None
    subgraphs: bool
    version: str
    kwargs: dict[str, Any]

    @property
    def several(self) -> bool:
        """Whether parts carry the name of their mode."""
        return self.stream_mode is not None and not isinstance(self.stream_mode, str)

    @property
    def local(self) -> bool:
        """Whether the run's callbacks are ours to watch."""
        return run_config.is_local(self.graph)

    def direct(self, method: str = "astream") -> bool:
        """Whether all parts can be taken from where they are made."""
        modes = self._modes()
        if list(modes) == ["messages"]:
            versions: tuple[str, ...] = ("v1", "v2")
        elif method == "astream" and self.several and modes and set(modes) <= _DIRECT:
            versions = ("v1",)
        else:
            return False
        return (
            self.local
            and self.version in versions
            and run_config.direct_reason(self.config) is None
        )

    def open(self, method: str, sink: Sink[Any], thread: int | None) -> Source:
        """Start ``graph.stream`` or ``graph.astream`` so that its tokens end up in the sink."""
        calls = Calls()
        run = getattr(self.graph, method)
        if self.direct(method):
            watched = run_config.watched(self.config, self._watching(Gate(sink, thread), calls))
            if list(self._modes()) != ["messages"]:
                put, modes = self._part_putter(sink), self._modes()
                watched = run_config.emitting(watched, put, modes, subgraphs=self.subgraphs)
            parts = run(self.input, watched, stream_mode=[], **self._version(), **self.kwargs)
            return Source(parts, calls)
        pump = PumpGate(sink, thread)
        config = self.config
        if self.local:
            completions = None
            if "messages" in self._modes():
                completions = handlers.completions_handler(
                    self._putter(sink),
                    Gate(sink, thread),
                    calls,
                    subgraphs=self.subgraphs,
                    only=self.only,
                    config=self.config,
                )
            handler = handlers.GateHandler(pump, calls, completions)
            config = run_config.with_node_writers(run_config.watched(self.config, handler))
        parts = run(
            self.input,
            config,
            stream_mode=self.stream_mode,
            subgraphs=self.subgraphs,
            **self._version(),
            **self.kwargs,
        )
        return Source(parts, calls, pump, self._passes if self.only is not None else None)

    def _watching(self, gate: Gate, calls: Calls) -> BaseCallbackHandler:
        """What watches the calls of a run whose parts are all taken from where they are made."""
        if "messages" not in self._modes():
            return handlers.StepGateHandler(gate, calls)
        return handlers.MessagesHandler(
            self._putter(gate.sink), gate, calls, subgraphs=self.subgraphs, only=self.only
        )

    def _modes(self) -> Sequence[str]:
        if self.stream_mode is None or isinstance(self.stream_mode, str):
            return [self.stream_mode or ""]
        return self.stream_mode

    def _version(self) -> dict[str, Any]:
        return {} if self.version == "v1" else {"version": self.version}

    def _putter(self, sink: Sink[Any]) -> Callable[[Namespace, Token], None]:
        """The part that LangGraph makes of a token, by the form that was asked for."""
        if self.version == "v2":
            return lambda ns, token: sink.put({"type": "messages", "ns": ns, "data": token})
        if self.several:
            if self.subgraphs:
                return lambda ns, token: sink.put((ns, "messages", token))
            return lambda ns, token: sink.put(("messages", token))
        if self.subgraphs:
            return lambda ns, token: sink.put((ns, token))
        return lambda ns, token: sink.put(token)

    def _part_putter(self, sink: Sink[Any]) -> Callable[[Namespace, str, Any], None]:
        """As ``_putter``, for the parts of other modes beside tokens."""

        def put(namespace: Namespace, mode: str, payload: Any) -> None:
            part = (namespace, mode, payload) if self.subgraphs else (mode, payload)
            if self.only is None or self._passes(part):
                sink.put(part)

        return put

    def _passes(self, part: Any) -> bool:
        """Filter afterwards: tokens by their metadata, everything else passes."""
        if self.version == "v2":
            mode, payload = part.get("type"), part.get("data")
        else:
            mode = part[-2] if self.several else self.stream_mode
            payload = part[-1] if self.several or self.subgraphs else part
        if mode not in ("messages", "custom") or not isinstance(payload, (tuple, list)):
            return True
        if len(payload) != 2 or not isinstance(payload[1], dict):
            return True
        metadata = payload[1]
        if mode == "custom" and "tags" not in metadata and "langgraph_node" not in metadata:
            return True
        assert self.only is not None
        return self.only(metadata, payload[0])


@dataclass(frozen=True)
class Source:
    """A run that is ready to start: its parts, its calls, and the pump if its parts need one."""

    parts: Any
    calls: Calls
    pump: PumpGate | None = None
    passes: Callable[[Any], bool] | None = None


async def run(plan: Plan, sink: Sink[Any]) -> None:
    """Run the graph to its end, and tell the sink how it ended."""
    calls = Calls()
    try:
        source = plan.open("astream", sink, get_ident())
        calls = source.calls
        async with aclosing(source.parts) as parts:
            async for part in parts:
                if source.pump is not None and (source.passes is None or source.passes(part)):
                    await source.pump.forward(part)
    except Exception as error:  # noqa: BLE001 - it is raised at the reader
        name_the_fix(error)
        sink.finish(calls.explained(error))
    except BaseException as error:
        sink.finish(error)
        raise
    else:
        sink.finish()


def run_sync(plan: Plan, sink: Sink[Any]) -> None:
    """As ``run``, in a thread that nobody joins by name: whatever ends the run is the reader's."""
    calls = Calls()
    try:
        source = plan.open("stream", sink, None)
        calls = source.calls
        with closing(source.parts) as parts:
            for part in parts:
                if source.pump is not None and (source.passes is None or source.passes(part)):
                    source.pump.forward_sync(part)
    except BaseException as error:  # noqa: BLE001 - it is raised at the reader
        sink.finish(calls.explained(error))
    else:
        sink.finish()
