"""The config with which a run's parts are taken directly from where they are made.

Uses the following of LangGraph's own ``configurable``:

- A graph that runs with ``CONFIG_KEY_STREAM`` in its config, as a subgraph does, passes the parts
  of its other modes to that object at once, as ``(namespace, mode, payload)``, and uses the stream
  writer of the ``Runtime`` under ``CONFIG_KEY_RUNTIME``.
- A run merges its own ``Runtime`` into the one under ``CONFIG_KEY_RUNTIME`` (``merge``), and gives
  each node a copy with the node's ``execution_info`` (``override``).
- A stream writer finds its node's namespace in the config of the context variable.

``probe.py`` checks all of this before the first use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from langchain_core.runnables.config import (
    RunnableConfig,
    ensure_config,
    var_child_runnable_config,
)
from langgraph.config import get_config
from langgraph.pregel import Pregel
from langgraph.runtime import Runtime

from tokenweir.streaming.channel import ReaderLeft
from tokenweir.types import Namespace

__all__ = ["emitting", "in_namespace", "is_local", "shapes_state", "with_node_writers"]

# The values of the constants in langgraph._internal._constants.
CONFIG_KEY_CHECKPOINT_NS = "checkpoint_ns"
CONFIG_KEY_RUNTIME = "__pregel_runtime"
CONFIG_KEY_STREAM = "__pregel_stream"
NS_SEP = "|"


class _Place(dict[str, Any]):
    """The part of a config in which a stream writer finds the node that writes.

    Args:
        configurable: Has the node's checkpoint namespace.
        below: Whether the node belongs to a graph that another node has called.
    """

    def __init__(self, configurable: dict[str, Any], *, below: bool = False) -> None:
        super().__init__(configurable=configurable)
        self.below = below


class _NodeWriter:
    """A stream writer that knows its node.

    LangGraph's own writer looks the node up in a context variable. Before Python 3.11, async nodes
    do not see that variable, and threads that a node starts never do.

    A ``@task`` that the node calls, and the nodes of a graph that it calls, write through this
    writer. Then the place is theirs.
    """

    __slots__ = ("_place", "_write")

    def __init__(self, write: Callable[[Any], None], checkpoint_ns: str) -> None:
        self._write = write
        self._place = _Place({CONFIG_KEY_CHECKPOINT_NS: checkpoint_ns})

    def __call__(self, value: Any) -> None:
        if isinstance(var_child_runnable_config.get(), _Place):
            self._write(value)
        else:
            _write_at(self._place, self._write, value)


def _write_at(place: Any, write: Callable[[Any], None], value: Any) -> None:
    token = var_child_runnable_config.set(place)
    try:
        write(value)
    finally:
        var_child_runnable_config.reset(token)


def _below(write: Callable[[Any], None]) -> Callable[[Any], None]:
    """The writer of a graph that is called by the node with this writer."""

    def write_below(value: Any) -> None:
        place: Any = var_child_runnable_config.get()
        _write_at(_Place(place["configurable"], below=True), write, value)

    return write_below


class _NodeRuntime(Runtime[Any]):
    """A ``Runtime`` that hands each node a ``_NodeWriter``."""

    __slots__ = ()

    @classmethod
    def of(cls, runtime: Runtime[Any]) -> _NodeRuntime:
        """The same runtime, as one of this class."""
        return cls(**{field.name: getattr(runtime, field.name) for field in fields(runtime)})

    def merge(self, other: Runtime[Any]) -> _NodeRuntime:
        """Like ``Runtime.merge``: called when a graph starts, on the runtime of its caller."""
        merged = self.of(super().merge(other))
        if self.execution_info is not None and merged.stream_writer is self.stream_writer:
            return replace(merged, stream_writer=_below(self.stream_writer))
        return merged

    def override(self, **overrides: Any) -> Runtime[Any]:
        """Like ``Runtime.override``: called with ``execution_info`` when a node starts."""
        if (node := overrides.get("execution_info")) is not None:
            write = _NodeWriter(self.stream_writer, node.checkpoint_ns)
            overrides.setdefault("stream_writer", write)
        return super().override(**overrides)


def with_node_writers(graph: Any, config: RunnableConfig | None) -> RunnableConfig:
    """The config with which every node's ``writer`` works, in any task or thread."""
    configurable = (ensure_config(config).get("configurable") or {}) if config else {}
    runtime = configurable.get(CONFIG_KEY_RUNTIME)
    if runtime is not None and not isinstance(runtime, Runtime):
        return config or {}
    return _with_configurable(
        graph, config or {}, {CONFIG_KEY_RUNTIME: _NodeRuntime.of(runtime or _runtime_of(graph))}
    )


def _runtime_of(graph: Any) -> Runtime[Any]:
    """A runtime with which a run of the graph sees what it would see without one.

    A run that finds a runtime in its config takes the store from there instead of its graph.
    """
    return Runtime(store=getattr(graph, "store", None))


def _with_configurable(graph: Any, config: RunnableConfig, more: dict[str, Any]) -> RunnableConfig:
    """The config with ``more`` added to its ``configurable``."""
    given = {**(ensure_config(config).get("configurable") or {})}
    bound = (getattr(graph, "config", None) or {}).get("configurable")
    if not given and not bound and getattr(graph, "checkpointer", None):
        # LangGraph explains a missing thread id only if ``configurable`` is empty.
        return config
    return {**config, "configurable": {**(config.get("configurable") or {}), **more}}


def is_local(graph: object) -> bool:
    """Whether the graph runs in this process, so that its callbacks can be watched."""
    return isinstance(graph, Pregel)


def in_namespace(config: RunnableConfig | None) -> bool:
    """Whether a run starts in a checkpoint namespace, as it does in another graph's node."""
    return bool((ensure_config(config).get("configurable") or {}).get(CONFIG_KEY_CHECKPOINT_NS))


class _PartStream:
    """Takes the parts of these modes, as LangGraph's ``StreamProtocol``."""

    __slots__ = ("_emit", "modes")

    def __init__(self, emit: Callable[[tuple[Namespace, str, Any]], None], modes: set[str]) -> None:
        self._emit = emit
        self.modes = modes

    def __call__(self, part: tuple[Namespace, str, Any]) -> None:
        if _is_of_cancelled(part):
            return
        try:
            self._emit(part)
        except ReaderLeft:
            # LangGraph reports a cancelled node in a callback of the event loop. An exception there
            # has no caller: asyncio would log it, together with the node's arguments.
            if not _in_callback():
                raise


def _is_of_cancelled(part: tuple[Namespace, str, Any]) -> bool:
    """Whether this is the end of a node that was cancelled because another one has failed.

    LangGraph puts this part into its queue when the queue is no longer read.
    """
    _, mode, payload = part
    if mode == "debug":
        payload = payload.get("payload")
    return (
        mode in ("debug", "tasks")
        and isinstance(payload, dict)
        and isinstance(payload.get("error"), asyncio.CancelledError)
    )


def _in_callback() -> bool:
    try:
        return asyncio.current_task() is None
    except RuntimeError:  # no event loop in this thread
        return False


def emitting(
    graph: Any,
    config: RunnableConfig,
    put: Callable[[Namespace, str, Any], None],
    modes: Sequence[str],
    *,
    subgraphs: bool,
) -> RunnableConfig:
    """The config with which a run passes the parts of these modes to ``put``, from any thread.

    This avoids LangGraph's queue, from which a task of the run would have to take each part. The
    messages of local calls do not come this way; those of a ``RemoteGraph`` in a node do.
    """

    def emit(part: tuple[Namespace, str, Any]) -> None:
        namespace, mode, payload = part
        if subgraphs or not namespace:
            put(namespace, mode, payload)

    def write(value: Any) -> None:
        place = get_config()
        if subgraphs or not getattr(place, "below", False):
            node = place["configurable"][CONFIG_KEY_CHECKPOINT_NS]
            put(tuple(node.split(NS_SEP)[:-1]), "custom", value)

    runtime = _runtime_of(graph)
    if "custom" in modes:
        runtime = _NodeRuntime.of(runtime.override(stream_writer=write))
    more = {CONFIG_KEY_STREAM: _PartStream(emit, set(modes)), CONFIG_KEY_RUNTIME: runtime}
    return _with_configurable(graph, config, more)


def shapes_state(graph: Any) -> bool:
    """Whether LangGraph converts a graph's state to objects in ``version="v2"`` streams."""
    mappers = ("_output_mapper", "_state_mapper")
    return any(getattr(graph, name, None) is not None for name in mappers)
