"""Checks once whether LangGraph's internals are what the modules in this package expect."""

from __future__ import annotations

from collections.abc import Iterable
from threading import get_ident
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langchain_core.runnables.config import RunnableConfig, var_child_runnable_config
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import StreamWriter

from tokenweir.streaming._langgraph.handlers import CallHandler, watched
from tokenweir.streaming._langgraph.messages import (
    MessagesHandler,
    langgraph_route,
    missing_names,
)
from tokenweir.streaming._langgraph.run_config import emitting
from tokenweir.streaming.calls import Calls
from tokenweir.streaming.channel import open_channel
from tokenweir.streaming.flow_control import FlowControl
from tokenweir.streaming.probing import probing

__all__ = ["probe"]


@probing(
    "this LangGraph differs from those that Tokenweir knows (%s): streams have the same content, "
    "but are slower"
)
async def probe() -> str | None:
    """None if streams may use LangGraph's internals; otherwise the reason why not.

    The first call streams a small graph both through LangGraph's own queue and through its
    internals, and compares the parts. If they differ, or if this fails, every stream uses
    LangGraph's queue, which gives the same parts more slowly; the log says so once.
    """
    if missing := missing_names():
        return f"no {', '.join(missing)}"
    inner = _graph("below").compile()
    graph: Any = _graph("above").add_node("inner", inner).add_edge("write_above", "inner").compile()
    modes = ["messages", "custom", "updates", "values"]
    for subgraphs in (False, True):
        theirs = [
            part async for part in graph.astream(_INPUT, stream_mode=modes, subgraphs=subgraphs)
        ]
        ours = await _taken(graph, modes, subgraphs)
        for mode in modes:
            if _of_mode(mode, theirs) != _of_mode(mode, ours):
                return f"other parts in {mode} mode"
    return None


async def _taken(graph: Any, modes: list[str], subgraphs: bool) -> list[Any]:
    """The parts of a run, taken through LangGraph's internals."""
    parts: list[Any] = []
    send, _ = open_channel(1_000)
    handler = MessagesHandler(
        lambda namespace, token: parts.append((namespace, "messages", token)),
        FlowControl(send, get_ident()),
        Calls(),
        subgraphs=subgraphs,
        only=None,
    )
    config = emitting(
        graph,
        watched(None, handler),
        lambda *part: parts.append(part),
        modes,
        subgraphs=subgraphs,
    )
    async for _ in graph.astream(_INPUT, config, stream_mode=[]):
        pass
    return parts


def _of_mode(mode: str, parts: Iterable[Any]) -> list[Any]:
    """The parts of this mode, without the values that differ from run to run."""
    found = []
    for *namespace, name, payload in parts:
        if name != mode:
            continue
        place = [part.partition(":")[0] for part in namespace[0]] if namespace else []
        if name == "messages":
            message, metadata = payload
            payload = (message, metadata["langgraph_node"], metadata.get("tags"))
        found.append((place, payload))
    return found


_INPUT: Any = {"messages": []}


def _graph(name: str) -> Any:
    """A graph with a node whose two model calls are streamed, and one that writes."""

    async def call(state: MessagesState, config: RunnableConfig) -> Any:
        manager: Any = config.get("callbacks")
        manager.add_tags(["probe"])
        [run] = await manager.on_chat_model_start({}, [[]])
        told = AIMessageChunk(content="told", id=f"told-{name}")
        await run.on_llm_new_token("told", chunk=ChatGenerationChunk(message=told))
        await run.on_llm_end(LLMResult(generations=[[ChatGeneration(message=told)]]))

        [run] = await manager.on_chat_model_start({}, [[]])
        sent = AIMessageChunk(content="sent", id=f"sent-{name}")
        for handler in run.handlers:
            if isinstance(handler, CallHandler):
                handler.route(run.run_id, str(sent.id)).send(sent)
            elif route := langgraph_route(handler, run.run_id, str(sent.id)):
                route.send(sent)
        await run.on_llm_end(LLMResult(generations=[[ChatGeneration(message=sent)]]))
        return {"messages": [sent, AIMessage("whole", id=f"whole-{name}")]}

    def write(state: MessagesState, config: RunnableConfig, writer: StreamWriter) -> None:
        # LangGraph's writer looks here for its node; before Python 3.11 it is not set.
        var_child_runnable_config.set(config)
        writer(name)

    builder: Any = StateGraph(MessagesState).add_node(f"call_{name}", call)
    builder.add_node(f"write_{name}", write)
    return builder.add_edge(START, f"call_{name}").add_edge(f"call_{name}", f"write_{name}")
