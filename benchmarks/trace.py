"""Traces the path of one token: ``python -m benchmarks.trace [--calls]``.

Streams a paced answer, one token per packet, from a server in another process, and records every
Python function that runs between two tokens at the reader. Prints how many calls one token makes,
how many of them are Tokenweir's and in how many of its files, and how often the path crosses from
one of its rooms into another. The figures are those of the median token.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from types import FrameType
from typing import Any

import tokenweir
from benchmarks.processes import Server
from benchmarks.script import Script

__all__ = ["Trace", "trace_tokens"]

PACKAGE = Path(tokenweir.__file__).parent
WARM_UP, MEASURED = 20, 21

Trace = list[tuple[str, str]]
"""The calls of one token, in order: the file (relative to the package if it is ours) and name."""


async def trace_tokens(base_url: str) -> list[Trace]:
    """The calls of each of ``MEASURED`` tokens of one paced answer."""
    from langgraph.graph import START, MessagesState, StateGraph

    from tokenweir import astream, chat_model, node

    model = chat_model("openai:gpt-4o-mini", base_url=base_url, api_key="test")

    @node
    async def ask(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph: Any = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
    prompt = Script(tokens=WARM_UP + MEASURED + 5, every=5).prompt()
    traces: list[Trace] = []
    calls: Trace = []

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            code = frame.f_code
            calls.append((code.co_filename, code.co_name))

    stream = astream(graph, {"messages": [("user", prompt)]})
    for _ in range(WARM_UP):
        await anext(stream)
    sys.setprofile(profile)
    for _ in range(MEASURED):
        await anext(stream)
        traces.append(calls.copy())
        calls.clear()
    sys.setprofile(None)
    await stream.aclose()
    return [[(_ours(file), name) for file, name in trace] for trace in traces]


def _ours(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(PACKAGE)) if PACKAGE in path.parents else file


def main() -> None:
    """Trace, and print."""
    with Server() as server:
        traces = asyncio.run(trace_tokens(server.base_url))
    middle = median_low([len(trace) for trace in traces])
    trace = next(each for each in traces if len(each) == middle)
    ours = [(file, name) for file, name in trace if not file.startswith("/")]
    rooms = [file.partition("/")[0] for file, _ in ours]
    crossings = sum(a != b for a, b in pairwise(rooms))
    files = {file for file, _ in ours}
    print(f"calls {len(trace)}, ours {len(ours)}, in {len(files)} files, crossings {crossings}")
    if "--calls" in sys.argv:
        for file, name in trace:
            print(f"  {file}  {name}" if file.startswith("/") else f"* {file}  {name}")
    else:
        for file, count in Counter(file for file, _ in ours).most_common():
            print(f"  {count:3} {file}")


if __name__ == "__main__":
    main()
