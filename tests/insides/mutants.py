"""Processes in which a private name of a dependency is another, and what they stream.

``python mutants.py`` reads a JSON list of ``[label, modules, pattern, replacement]``. For each it
forks a process that rewrites the source of the modules that the regular expression ``modules``
matches, and of those under them, when they are imported. The process streams graphs of ours both by
LangGraph and by Tokenweir, and prints a line of JSON: the label, what differed, and what was logged
or warned of.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.machinery
import importlib.util
import json
import logging
import os
import re
import sys
import traceback
import warnings
from functools import partial
from types import CodeType
from typing import Any

import aiohttp
import langchain_openai
import langgraph.graph
import langgraph.prebuilt
import openai
from langchain_core.runnables import RunnableConfig

WARM = (aiohttp, langchain_openai, langgraph.graph, langgraph.prebuilt, openai)
"""Imported once, before the processes are forked."""

DEPENDENTS = {
    "langgraph": {"langgraph"},
    "langchain_core": {"langchain_core", "langchain_openai", "langgraph"},
    "langchain_openai": {"langchain_openai"},
    "openai": {"openai", "langchain_openai"},
    "httpx2": {"httpx2", "httpx", "openai", "langchain_openai"},
    "aiohttp": {"aiohttp", "openai", "langchain_openai", "httpx2"},
}
"""The packages that are imported anew where one is mutated."""

GONE = "_gone"


class Mutation:
    """An import hook that replaces a pattern in the source of the modules under a name.

    Where the name of a module itself is replaced, it is found by its new name only.
    """

    def __init__(self, modules: str, pattern: str, replacement: str) -> None:
        self.modules = re.compile(rf"(?:{modules})\.")
        self.pattern = re.compile(pattern)
        self.replacement = replacement
        self.applied = 0

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if not self.modules.match(f"{name}."):
            return None
        parent, _, last = name.rpartition(".")
        spec = importlib.machinery.PathFinder.find_spec(
            f"{parent}.{last.removesuffix(GONE)}" if parent else last, path
        )
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            return spec
        if parent and self.pattern.fullmatch(last):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        loader = _Loader(name, str(spec.origin))
        loader.mutation = self
        return importlib.util.spec_from_file_location(
            name, spec.origin, loader=loader, submodule_search_locations=_places(spec)
        )


def _places(spec: Any) -> list[str] | None:
    places = spec.submodule_search_locations
    return None if places is None else list(places)


class _Loader(importlib.machinery.SourceFileLoader):
    mutation: Mutation

    def get_code(self, fullname: str) -> CodeType | None:
        source = self.get_data(self.path).decode()
        mutated, number = self.mutation.pattern.subn(self.mutation.replacement, source)
        if not number:
            return super().get_code(fullname)
        self.mutation.applied += number
        return compile(mutated, self.path, "exec", dont_inherit=True)


async def differences() -> list[str]:
    """What our streams have that LangGraph's do not, or the other way round."""
    from langchain_openai import ChatOpenAI
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.pregel import Pregel

    from tokenweir.graphs.loader import ready_graphs
    from tokenweir.models.chat import chat_model
    from tokenweir.streaming.events import astream_events
    from tokenweir.streaming.stream import astream, stream

    def asking(model: Any) -> Any:
        def ask(state: Any) -> Any:
            return {"messages": [model.invoke(state["messages"])]}

        builder: Any = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask")
        return builder.compile()

    inputs: Any = {"topic": "cats", "messages": [("user", "What is 12 * 7?")]}
    config: Any = {"configurable": {"thread_id": "1"}}
    found: list[str] = []

    def compare(label: str, ours: Any, theirs: Any) -> None:
        if _told(ours) != _told(theirs):
            found.append(label)
        if len(ours) < 3:
            found.append(f"{label}: {len(ours)} parts")

    def outside(read: Any) -> Any:
        """A graph with a node that streams another graph."""

        async def ask(state: Any, config: RunnableConfig) -> Any:
            tokens = [part async for part in read(asking(chat_model()), inputs, config)]
            return {"messages": [chunk for chunk, _ in tokens]}

        builder: Any = StateGraph(MessagesState).add_node("out", ask).add_edge(START, "out")
        return builder.compile()

    def by_its_graph(graph: Any, given: Any) -> Any:
        return graph.astream_events(given, version="v3")

    async def events_of(call: Any, graph: Any) -> list[Any]:
        """What a run stream tells: each event's kind and, of messages, the block or text."""
        async with await call(graph, inputs) as run:
            told = [(event["method"], event["params"]["data"]) async for event in run]
        return [
            (method, data[0]["event"], data[0].get("delta")) if method == "messages" else (method,)
            for method, data in told
        ]

    everything = ["messages", "updates", "custom"]
    kwargs: Any = {"stream_mode": everything, "subgraphs": True}
    for name in ready_graphs():
        module = importlib.import_module(f"tokenweir.graphs.{name}")
        theirs = [part async for part in module.build().astream(inputs, config, **kwargs)]
        ours = [part async for part in astream(module.build(), inputs, config, **kwargs)]
        compare(name, ours, theirs)
    for model in (chat_model(), ChatOpenAI(model="gpt-4o-mini")):
        graph = asking(model)
        for modes in ("messages", everything):
            kwargs = {"stream_mode": modes, "subgraphs": True}
            label = f"{type(model).__name__} {modes}"
            theirs = list(graph.stream(inputs, **kwargs))
            compare(f"sync {label}", list(stream(graph, inputs, **kwargs)), theirs)
            compare(label, [part async for part in astream(graph, inputs, **kwargs)], theirs)
    ran = [await events_of(call, asking(chat_model())) for call in (astream_events, by_its_graph)]
    if ran[0] != ran[1] or len(ran[0]) < 3:
        found.append(f"events: {ran}")
    by_us = await outside(astream).ainvoke(inputs)
    by_langgraph = await outside(partial(Pregel.astream, stream_mode="messages")).ainvoke(inputs)
    if _told(by_us["messages"]) != _told(by_langgraph["messages"]):
        found.append("inside a node")
    return found


_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|chatcmpl-\w+")


def _told(parts: list[Any]) -> tuple[list[Any], list[str]]:
    """The tokens, call by call, and the other parts, without ids that differ between runs."""
    from tokenweir.testing import by_call

    tokens = [part[-1] for part in parts if _is_token(part)]
    others = [_ID.sub("", repr(part)) for part in parts if not _is_token(part)]
    return by_call(tokens), sorted(others)


def _is_token(part: Any) -> bool:
    return isinstance(part, tuple) and isinstance(part[-1], tuple)


def mutant(label: str, modules: str, pattern: str, replacement: str) -> dict[str, Any]:
    """Stream in this process, once it is mutated."""
    mutation = Mutation(modules, pattern, replacement)
    package = re.findall(r"\w+", modules)[0]
    for name in list(sys.modules):
        if name.partition(".")[0] in DEPENDENTS[package]:
            del sys.modules[name]
    sys.meta_path.insert(0, mutation)
    told: list[str] = []

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logging.getLogger().addHandler(Told(logging.WARNING))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        try:
            found = asyncio.run(differences())
        except BaseException:  # noqa: BLE001 - it is told
            found = [traceback.format_exc()]
    told += [str(each.message) for each in warned if "tokenweir" in str(each.message).lower()]
    return {"label": label, "applied": mutation.applied, "differences": found, "told": told}


def main() -> None:
    """Run the mutants that the input lists, two at a time."""
    gc.disable()  # none lives for long
    waiting = json.load(sys.stdin)
    running = 0
    while waiting or running:
        if waiting and running < 2:
            mutation = waiting.pop(0)
            if os.fork() == 0:
                line = json.dumps(mutant(*mutation)) + "\n"
                os.write(1, line.encode())
                os._exit(0)
            running += 1
        else:
            os.wait()
            running -= 1


if __name__ == "__main__":
    main()
